"""An API server with a data directory: what was acknowledged is there after whatever death; nothing else is seen."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.apiserver import storage
from kfcore.apiserver.database import FILE, DataDirectoryError
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.client.errors import ApiError
from kfcore.client.rest import RestClient
from kfcore.testing import FakeClock, InProcessTransport

ConfigMap = untyped(Resource("", "v1", "ConfigMap", "configmaps", True))
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "lamps.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "lamps", "kind": "Lamp"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@asynccontextmanager
async def a_server(data_dir: Path | None, **options: Any) -> AsyncIterator[ApiServer]:
    server = ApiServer(data_dir=data_dir, **options)
    try:
        yield server
    finally:
        await server.close()


async def call(server: ApiServer, method: str, path: str, body: object = None, **query: str) -> Response:
    data = b"" if body is None else json.dumps(body).encode()
    return await server.handle(Request(method, path, query, {"content-type": "application/json"}, data))


def body_of(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def dumped(server: ApiServer) -> dict[str, Any]:
    """What a client can see of it: every object, and the version of a list."""
    seen = body_of(await call(server, "GET", "/api/v1/configmaps"))
    return {"version": int(seen["metadata"]["resourceVersion"]), "items": seen["items"]}


async def test_the_next_server_has_the_objects_the_kinds_and_the_versions_of_the_last(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        server.install_crd(CRD)
        await call(server, "POST", CONFIG_MAPS, config_map("kept", a="1"))
        await call(server, "POST", CONFIG_MAPS, config_map("deleted"))
        await call(server, "DELETE", f"{CONFIG_MAPS}/deleted")
        lamp = {"apiVersion": "example.com/v1", "kind": "Lamp", "metadata": {"name": "red"}, "bright": True}
        assert (await call(server, "POST", "/apis/example.com/v1/namespaces/default/lamps", lamp)).status == 201
        before = await dumped(server)
    async with a_server(tmp_path) as server:
        assert await dumped(server) == before
        red = body_of(await call(server, "GET", "/apis/example.com/v1/namespaces/default/lamps/red"))
        assert red["bright"] is True
        created = body_of(await call(server, "POST", CONFIG_MAPS, config_map("new")))
        assert int(created["metadata"]["resourceVersion"]) == before["version"] + 1


async def test_a_seeded_server_gives_no_uid_twice_over_its_restarts(tmp_path: Path) -> None:
    uids = []
    for number in range(3):
        async with a_server(tmp_path, seed=1) as server:
            created = body_of(await call(server, "POST", CONFIG_MAPS, config_map(f"c-{number}")))
            uids.append(created["metadata"]["uid"])
    assert len(set(uids)) == 3


async def test_a_watch_goes_on_where_the_server_before_left_it(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        client = RestClient(InProcessTransport(server))
        first = await client.create(ConfigMap, config_map("a", n="0"), "default")
        await client.patch(ConfigMap, "a", "default", {"data": {"n": "1"}})
        await client.create(ConfigMap, config_map("b"), "default")
        await client.delete(ConfigMap, "b", "default")
    async with a_server(tmp_path) as server:
        client = RestClient(InProcessTransport(server))
        changes = client.watch(ConfigMap, resource_version=first.metadata.resource_version)
        async with asyncio.timeout(60):
            events = [await anext(changes) for _ in range(3)]
            seen = [(event.type, event.object.metadata.name) for event in events]
    assert seen == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "b")]


async def test_a_watch_from_before_the_stored_history_is_told_to_list_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "HISTORY", 10)
    async with a_server(tmp_path) as server:
        for number in range(30):
            await call(server, "POST", CONFIG_MAPS, config_map(f"c-{number:02}"))
            if number % 2:
                await call(server, "DELETE", f"{CONFIG_MAPS}/c-{number:02}")
        before = await dumped(server)
    async with a_server(tmp_path) as server:
        assert await dumped(server) == before
        old = await call(server, "GET", CONFIG_MAPS, watch="1", resourceVersion="5")
        assert body_of(old)["object"]["code"] == 410
        recent = str(before["version"] - 3)
        resumed = await call(server, "GET", CONFIG_MAPS, watch="1", resourceVersion=recent, timeoutSeconds="1")
        assert not isinstance(resumed.body, bytes)
        lines = (await anext(aiter(resumed.body))).splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["ADDED", "ADDED", "DELETED"]
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        rows = connection.execute("SELECT count(*) FROM changes WHERE collection = 'configmaps'").fetchone()[0]
    assert rows <= 15 + 10, "what nobody can ask for is not kept"


WRITER = textwrap.dedent(
    """
    import asyncio, json, sys
    from pathlib import Path
    from kfcore.apiserver.request import Request
    from kfcore.apiserver.server import ApiServer

    async def write(server, number):
        count = 0
        while True:
            name = f"w{number}-{count}"
            body = json.dumps({"metadata": {"name": name}, "data": {"padding": "x" * 500}}).encode()
            path = "/api/v1/namespaces/default/configmaps"
            answer = await server.handle(Request("POST", path, {}, {}, body))
            assert answer.status == 201, answer.body
            version = json.loads(answer.body)["metadata"]["resourceVersion"]
            sys.stdout.write(f"{name} {version}\\n")
            sys.stdout.flush()
            count += 1

    async def main():
        server = ApiServer(data_dir=Path(sys.argv[1]))
        await asyncio.gather(*(write(server, number) for number in range(8)))

    asyncio.run(main())
    """
)


async def test_after_kill_9_in_the_middle_of_writes_everything_acknowledged_is_there(tmp_path: Path) -> None:
    acknowledged: dict[str, str] = {}
    for round_ in range(3):
        directory = tmp_path / str(round_)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(directory), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        acknowledged.clear()
        for _ in range(random.randint(50, 400)):
            name, version = (await process.stdout.readline()).decode().split()
            acknowledged[name] = version
        process.kill()
        for line in (await process.stdout.read()).decode().splitlines():
            if len(parts := line.split()) == 2:
                acknowledged[parts[0]] = parts[1]
        assert await process.wait() == -signal.SIGKILL
        async with a_server(directory) as server:
            found = await dumped(server)
            versions = {i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in found["items"]}
            assert acknowledged.items() <= versions.items()
            assert found["version"] >= max(map(int, acknowledged.values()))


async def test_a_directory_in_use_says_by_whom(tmp_path: Path) -> None:
    async with a_server(tmp_path):
        with pytest.raises(DataDirectoryError, match=rf"in use by another kfcore \(process {os.getpid()}\)"):
            ApiServer(data_dir=tmp_path)
    async with a_server(tmp_path) as server:
        assert (await dumped(server))["items"] == []


async def test_a_data_directory_is_held_by_one_also_when_it_was_cleared_as_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def cleared(descriptor: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        (tmp_path / "lock").unlink()  # as `kfcore local reset` does
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", cleared)
    holder = ApiServer(data_dir=tmp_path)
    with pytest.raises(DataDirectoryError, match="in use by another kfcore"):
        ApiServer(data_dir=tmp_path)
    await holder.close()


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with a_server(tmp_path) as server:
        for number in range(200):
            await call(server, "POST", CONFIG_MAPS, config_map(f"c-{number}", text="x" * 300))
    data = bytearray((tmp_path / FILE).read_bytes())
    data[8192:12288] = os.urandom(4096)
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(DataDirectoryError, match=r"is damaged .* restore it from a copy, or move it away"):
        ApiServer(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "why"), [(b"no database at all, but long enough" * 40, "is damaged"), (b"", "")], ids=["text", "empty"]
)
async def test_a_file_that_is_no_database_is_refused_and_an_empty_one_begun(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / FILE).write_bytes(content)
    if not why:
        await ApiServer(data_dir=tmp_path).close()
        return
    with pytest.raises(DataDirectoryError, match=why):
        ApiServer(data_dir=tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_another_programs_database_and_another_format_are_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DataDirectoryError, match="database of another program"):
        ApiServer(data_dir=tmp_path)
    newer = tmp_path / "newer"
    asyncio.run(ApiServer(data_dir=newer).close())
    with closing(sqlite3.connect(newer / FILE)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DataDirectoryError, match="is of format 99"):
        ApiServer(data_dir=newer)


def test_a_directory_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match=r"cannot use .*/file/state as a data directory: Not a directory"):
        ApiServer(data_dir=tmp_path / "file" / "state")


FULL_DISK = textwrap.dedent(
    """
    import asyncio, json, resource, sys
    from pathlib import Path
    from kfcore.apiserver.request import Request
    from kfcore.apiserver.server import ApiServer

    PATH = "/api/v1/namespaces/default/configmaps"

    async def call(server, method, path, body=b"", **query):
        return await server.handle(Request(method, path, query, {}, body))

    def body(name, size):
        return json.dumps({"metadata": {"name": name}, "data": {"padding": "x" * size}}).encode()

    async def main():
        server = ApiServer(data_dir=Path(sys.argv[1]))
        watch = await call(server, "GET", PATH, watch="1")
        assert (await call(server, "POST", PATH, body("first", 10))).status == 201
        chunks = aiter(watch.body)
        first = await anext(chunks)
        # No file may grow from here on: every write fails, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        answers = await asyncio.gather(*(call(server, "POST", PATH, body(f"b{n}", 200_000)) for n in range(4)))
        statuses = [answer.status for answer in answers]
        message = json.loads(answers[0].body)["message"]
        names = [i["metadata"]["name"] for i in json.loads((await call(server, "GET", PATH)).body)["items"]]
        rest = [chunk async for chunk in chunks]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        again = await call(server, "POST", PATH, body("b0", 200_000))
        await server.close()
        print(json.dumps([first.count(b"\\n"), statuses, message, names, len(rest), again.status]))

    asyncio.run(main())
    """
)


def test_on_a_full_disk_a_write_is_refused_undone_and_never_shown(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    first, statuses, message, names, shown, again = json.loads(ended.stdout.splitlines()[-1])
    assert (first, statuses, shown) == (1, [507] * 4, 0)
    assert "could not be written" in message
    assert "was not made" in message
    assert names == ["first"]
    assert again == 201, "with room again, it goes on"
    assert asyncio.run(_names(tmp_path)) == ["b0", "first"]


async def _names(data_dir: Path) -> list[str]:
    async with a_server(data_dir) as server:
        return sorted(item["metadata"]["name"] for item in (await dumped(server))["items"])


STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete", "label"]), st.sampled_from("abcd"), st.integers(0, 3)),
    max_size=25,
)


@settings(max_examples=25)
@given(steps=STEPS, restarts=st.sets(st.integers(0, 25), max_size=3))
def test_it_answers_as_the_server_in_memory_does_whenever_it_is_restarted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]], restarts: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("data")

    async def run(data_dir: Path | None) -> list[Any]:
        clock = FakeClock()
        server = ApiServer(data_dir=data_dir, clock=clock)
        told: list[Any] = []
        for number, (verb, name, value) in enumerate(steps):
            if data_dir is not None and number in restarts:
                await server.close()
                server = ApiServer(data_dir=data_dir, clock=clock)
            client = RestClient(InProcessTransport(server))
            told.append(await _outcome(lambda: _do(client, verb, name, value)))  # noqa: B023 - awaited in this round
        listed = body_of(await call(server, "GET", "/api/v1/configmaps"))
        for item in listed["items"]:
            del item["metadata"]["uid"]
        watched = await call(server, "GET", "/api/v1/configmaps", watch="1", resourceVersion="4", labelSelector="n=1")
        assert not isinstance(watched.body, bytes)
        await server.close()
        events = [json.loads(line) for chunk in [c async for c in watched.body] for line in chunk.splitlines()]
        told.append([(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in events])
        return [*told, listed]

    assert asyncio.run(run(directory)) == asyncio.run(run(None))


async def _do(client: RestClient, verb: str, name: str, value: int) -> str:
    match verb:
        case "create":
            done = await client.create(ConfigMap, config_map(name, n=str(value)), "default")
        case "update":
            done = await client.patch(ConfigMap, name, "default", {"data": {"n": str(value)}})
        case "label":
            labels = {"metadata": {"labels": {"n": str(value)}}}
            done = await client.patch(ConfigMap, name, "default", labels)
        case _:
            await client.delete(ConfigMap, name, "default")
            return "deleted"
    return done.metadata.resource_version


async def _outcome(work: Callable[[], Awaitable[str]]) -> str:
    try:
        return await work()
    except ApiError as error:
        return type(error).__name__

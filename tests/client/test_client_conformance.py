"""What every `Client`, and every informer over one, does: on the API in this process, called directly and over HTTP,
and, with `KUBECONFIG` set, on that cluster, in a namespace of its own.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from kfcore.api.codec import decode_json
from kfcore.api.core import Namespace, Pod
from kfcore.api.meta import ServerObject, owner_reference, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.apiserver.server import ApiServer
from kfcore.cache.cache import Cache
from kfcore.cache.informer import Change
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import AlreadyExists, Conflict, Forbidden, Gone, Invalid, NotFound
from kfcore.client.interface import Client, PatchType, Preconditions, Propagation
from kfcore.client.rest import RestClient
from kfcore.testing import FakeClient


class Config(ServerObject, frozen=True):
    """A ConfigMap: no controller of a cluster touches those that it didn't make."""

    resource: ClassVar[Resource] = Resource("", "v1", "ConfigMap", "configmaps")
    data: dict[str, str] = {}


AnyConfig = untyped(Config.resource)
AnyService = untyped(Resource("", "v1", "Service", "services", subresources=frozenset({"status"})))
AnyDeployment = untyped(Resource("apps", "v1", "Deployment", "deployments"))

IN_PROCESS = ["in process", "over HTTP", "unix socket", "kubeconfig"]
MINE = "kfcore-test=yes"  # clusters put a ConfigMap of theirs into each namespace


def a_config(name: str = "a", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"kfcore-test": "yes", **labels}}, "data": {"key": "value"}}


@pytest.fixture(params=[*IN_PROCESS, *(["cluster"] if os.environ.get("KUBECONFIG") else [])])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RestClient]:
    if request.param == "in process":
        yield FakeClient()
        return
    if request.param == "cluster":
        async with await ClusterClient.connect() as client:
            yield client
        return
    api = ApiServer()
    host = str(tmp_path / "api.sock") if request.param == "unix socket" else "127.0.0.1"
    server = HttpServer(api, token="secret", host=host)
    await server.start()
    if request.param == "kubeconfig":
        write_kubeconfig(tmp_path / "config", server.url, "secret")
        client = await ClusterClient.connect(tmp_path / "config")
    else:
        client = await ClusterClient.at(server.url, token="secret")
    async with client:
        yield client
    await server.stop()
    await api.close()


@pytest.fixture
async def ns(client: RestClient) -> AsyncIterator[str]:
    name = f"kfcore-test-{secrets.token_hex(4)}"
    await client.create(Namespace, {"metadata": {"name": name}})
    yield name
    with suppress(NotFound):
        await client.delete(Namespace, name)


async def names(client: RestClient, ns: str, selector: str = MINE) -> list[str]:
    return [config.name for config in await client.list(Config, ns, label_selector=selector)]


async def until(client: RestClient, ns: str, expected: list[str]) -> None:
    """Garbage collectors take their time."""
    async with asyncio.timeout(120):
        while await names(client, ns) != expected:  # noqa: ASYNC110 — it happens in the server
            await asyncio.sleep(0.05)


async def test_an_object_lives_its_life(client: RestClient, ns: str) -> None:
    created = await client.create(Config, a_config(app="x"), ns)
    assert created.metadata.uid
    assert created.namespace == ns
    assert await client.get(Config, "a", ns) == created
    patched = await client.patch(Config, "a", ns, {"metadata": {"labels": {"app": "y"}}})
    assert patched.metadata.labels["app"] == "y"
    assert patched.metadata.resource_version != created.metadata.resource_version
    await client.delete(Config, "a", ns)
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await client.get(Config, "a", ns)


async def test_a_status_is_written_apart(client: RestClient, ns: str) -> None:
    spec = {"clusterIP": "None", "ports": [{"port": 80}]}
    await client.create(AnyService, {"metadata": {"name": "a"}, "spec": spec}, ns)
    seen = {
        "type": "Seen",
        "status": "True",
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2024-01-01T00:00:00Z",
    }
    await client.patch(AnyService, "a", ns, {"status": {"conditions": [seen]}})
    assert "conditions" not in (await client.get(AnyService, "a", ns)).raw.get("status", {})
    await client.patch(AnyService, "a", ns, {"status": {"conditions": [seen]}}, subresource="status")
    conditions = (await client.get(AnyService, "a", ns)).raw["status"]["conditions"]
    assert [condition["type"] for condition in conditions] == ["Seen"]


async def test_a_scale_is_read_and_written_by_itself(client: RestClient, ns: str) -> None:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "none"}]}}
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": {"app": "a"}}, "template": template}
    await client.create(AnyDeployment, {"metadata": {"name": "a"}, "spec": spec}, ns)
    scale = decode_json(await client.subresource("GET", AnyDeployment, "a", ns, "scale"))
    assert (scale["kind"], scale["spec"].get("replicas", 0)) == ("Scale", 0)
    scale["spec"]["replicas"] = 1
    await client.subresource("PUT", AnyDeployment, "a", ns, "scale", body=scale)
    assert (await client.get(AnyDeployment, "a", ns)).raw["spec"]["replicas"] == 1


async def test_lists_are_sorted_and_selected(client: RestClient, ns: str) -> None:
    for name in ("c", "a", "b"):
        await client.create(Config, a_config(name, app="x" if name != "b" else "y"), ns)
    assert await names(client, ns) == ["a", "b", "c"]
    assert await names(client, ns, "app=x") == ["a", "c"]
    chosen = await client.list(Config, ns, label_selector=MINE, field_selector="metadata.name!=a")
    assert [config.name for config in chosen] == ["b", "c"]
    everywhere = await client.list(Config, label_selector="app=y")
    assert (ns, "b") in [(config.namespace, config.name) for config in everywhere]


async def test_long_lists_come_in_pages_and_arrive_whole(
    client: RestClient, ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfcore.client.rest.PAGE_SIZE", 2)
    for number in range(5):
        await client.create(Config, a_config(f"config-{number}"), ns)
    configs = await client.list(Config, ns, label_selector=MINE)
    assert [config.name for config in configs] == [f"config-{number}" for number in range(5)]
    assert configs.resource_version


async def test_owned_objects_are_found_by_the_owner_s_uid(client: RestClient, ns: str) -> None:
    owner = await client.create(Config, a_config("owner"), ns)
    child = a_config("child")
    child["metadata"]["ownerReferences"] = [owner_reference(owner)]
    await client.create(Config, child, ns)
    assert [config.name for config in await client.list_owned(Config, owner)] == ["child"]


async def test_creating_what_exists_is_refused_by_its_own_error(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config(), ns)
    with pytest.raises(AlreadyExists):
        await client.create(Config, a_config(), ns)


async def test_an_update_of_something_changed_meanwhile_conflicts(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config(), ns)
    mine = await client.get(AnyConfig, "a", ns)
    await client.patch(Config, "a", ns, {"metadata": {"annotations": {"x": "y"}}})
    mine.raw["metadata"]["labels"] = {"late": "yes"}
    with pytest.raises(Conflict):
        await client.update(mine)


async def test_an_update_replaces_the_whole_object(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config(), ns)
    mine = await client.get(AnyConfig, "a", ns)
    mine.raw["data"] = {"other": "thing"}
    await client.update(mine)
    assert (await client.get(Config, "a", ns)).data == {"other": "thing"}


async def test_a_projection_cannot_be_written_back(client: RestClient, ns: str) -> None:
    config = await client.create(Config, a_config(), ns)
    with pytest.raises(TypeError, match="use patch"):
        await client.update(config)


async def test_an_applied_field_belongs_to_who_applied_it(client: RestClient, ns: str) -> None:
    def applied(value: str) -> dict[str, Any]:
        return {"metadata": {"name": "a"}, "data": {"key": value}}

    await client.apply(Config, applied("one"), ns, field_manager="first")
    with pytest.raises(Conflict, match="first"):
        await client.apply(Config, applied("two"), ns, field_manager="second")
    taken = await client.apply(Config, applied("two"), ns, field_manager="second", force=True)
    assert taken.data == {"key": "two"}


async def test_a_delete_can_insist_on_the_very_object(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config(), ns)
    with pytest.raises(Conflict):
        await client.delete(Config, "a", ns, preconditions=Preconditions(uid="another"))
    await client.get(Config, "a", ns)


@pytest.mark.parametrize("propagation", [Propagation.BACKGROUND, Propagation.FOREGROUND, Propagation.ORPHAN])
async def test_a_delete_says_what_becomes_of_the_dependents(
    client: RestClient, ns: str, propagation: Propagation
) -> None:
    owner = await client.create(AnyConfig, a_config("owner"), ns)
    owned = a_config("owned")
    owned["metadata"]["ownerReferences"] = [owner_reference(owner)]
    await client.create(Config, owned, ns)
    await client.delete(Config, "owner", ns, propagation=propagation)
    if propagation is not Propagation.ORPHAN:
        await until(client, ns, [])
        return
    await until(client, ns, ["owned"])
    assert not (await client.get(Config, "owned", ns)).metadata.owner_references


async def test_a_pod_that_never_ran_has_an_empty_log_and_is_evicted(client: RestClient, ns: str) -> None:
    pod = {
        "metadata": {"name": "a"},
        "spec": {"nodeSelector": {"kfcore-test": "nowhere"}, "containers": [{"name": "main", "image": "none"}]},
    }
    async with asyncio.timeout(120):
        while True:
            try:
                await client.create(Pod, pod, ns)
                break
            except Forbidden:  # a cluster gives a namespace its service account a moment later
                await asyncio.sleep(0.1)
    assert await client.subresource("GET", Pod, "a", ns, "log") == b""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a", "namespace": ns}}
    await client.subresource("POST", Pod, "a", ns, "eviction", body=eviction)
    async with asyncio.timeout(120):
        while await client.list(Pod, ns):  # noqa: ASYNC110 — it happens in the server
            await asyncio.sleep(0.1)


async def test_a_collection_is_deleted_as_far_as_it_is_selected(client: RestClient, ns: str) -> None:
    for name in ("a", "b", "c"):
        await client.create(Config, a_config(name, app="x" if name != "b" else "y"), ns)
    await client.delete_collection(Config, ns, label_selector="app=x")
    assert await names(client, ns) == ["b"]


async def test_a_dry_run_changes_nothing(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config("dry"), ns, dry_run=True)
    assert await names(client, ns) == []
    await client.create(Config, a_config(), ns)
    await client.delete(Config, "a", ns, dry_run=True)
    await client.get(Config, "a", ns)


async def test_a_bad_object_is_refused_with_the_field(client: RestClient, ns: str) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(Config, a_config("Not_A_Name"), ns)
    assert refused.value.status.details
    assert refused.value.status.details.causes[0].field == "metadata.name"


async def test_a_json_patch_is_applied(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config(app="x"), ns)
    patch = [{"op": "replace", "path": "/metadata/labels/app", "value": "z"}]
    patched = await client.patch(Config, "a", ns, patch, patch_type=PatchType.JSON)
    assert patched.metadata.labels["app"] == "z"


async def test_a_strategic_patch_merges_lists_by_their_keys(client: RestClient, ns: str) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    await client.create(AnyService, {"metadata": {"name": "a"}, "spec": {"clusterIP": "None", "ports": ports}}, ns)
    change = {"spec": {"ports": [{"name": "c", "port": 82}]}}
    patched = await client.patch(AnyService, "a", ns, change, patch_type=PatchType.STRATEGIC)
    assert sorted(port["port"] for port in patched.raw["spec"]["ports"]) == [80, 81, 82]


async def test_a_watch_continues_from_a_list(client: RestClient, ns: str) -> None:
    await client.create(Config, a_config("before"), ns)
    version = (await client.list(Config, ns)).resource_version
    await client.create(Config, a_config("after"), ns)
    events = []
    watch = client.watch(Config, ns, resource_version=version, label_selector=MINE)
    async with asyncio.timeout(120), aclosing(cast("Any", watch)):
        async for event in watch:
            if event.type == "BOOKMARK":
                continue
            events.append((event.type, event.object.name))
            if len(events) == 1:
                await client.delete(Config, "before", ns)
            if events[-1][0] == "DELETED":
                break
    assert events == [("ADDED", "after"), ("DELETED", "before")]


async def test_a_watch_ends_when_its_time_is_over(client: RestClient, ns: str) -> None:
    if isinstance(client, FakeClient):
        pytest.skip("its clock stands still")
    version = (await client.list(Config, ns)).resource_version
    watch = client.watch(Config, ns, resource_version=version, label_selector=MINE, timeout_seconds=1)
    async with asyncio.timeout(120):
        assert [event async for event in watch if event.type != "BOOKMARK"] == []


async def test_names_never_become_paths(client: RestClient, ns: str) -> None:
    with pytest.raises(ValueError, match="path segment"):
        await client.get(Config, "../secrets", ns)


async def test_a_watch_line_of_a_megabyte_arrives(client: RestClient, ns: str) -> None:
    version = (await client.list(Config, ns)).resource_version
    await client.create(Config, {**a_config("big"), "data": {"key": "x" * 1_000_000}}, ns)
    watch = client.watch(Config, ns, resource_version=version, label_selector=MINE)
    async with asyncio.timeout(120), aclosing(cast("Any", watch)):
        async for event in watch:
            assert len(event.object.data["key"]) == 1_000_000
            break


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming lists", "lists in pages"])
async def test_an_informer_shows_what_is_there_and_what_comes(client: RestClient, ns: str, streaming: bool) -> None:
    await client.create(Config, a_config("before"), ns)
    cache = Cache(client, namespaces=[ns], streaming_list=streaming)
    seen: list[str] = []

    def note(change: Change[Config]) -> None:
        if "kfcore-test" in change.object.metadata.labels:
            sign = "+" if change.old is None else "-" if change.new is None else "~"
            seen.append(sign + change.object.name)

    cache.informer(Config).subscribe(note)
    task = asyncio.create_task(cache.run())
    await cache.wait_for_sync(120)
    await client.create(Config, a_config("after"), ns)
    await client.patch(Config, "after", ns, {"data": {"key": "changed"}})
    await client.delete(Config, "before", ns)
    async with asyncio.timeout(120):
        while len(seen) < 4:  # noqa: ASYNC110 — what is waited for comes over the wire
            await asyncio.sleep(0.01)
    assert seen == ["+before", "+after", "~after", "-before"]
    assert [config.data for config in await cache.list(Config, ns, label_selector=MINE)] == [{"key": "changed"}]
    task.cancel()
    await asyncio.wait([task])


def test_every_client_is_a_client() -> None:
    """Checked by mypy rather than here."""
    client: Client = FakeClient()
    assert client
    assert Gone.code == 410

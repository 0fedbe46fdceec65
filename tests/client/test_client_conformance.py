"""What every `Client` does, on the API in this process, called directly and over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kfcore.api.core import Namespace, Pod
from kfcore.api.meta import untyped
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.apiserver.server import ApiServer
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import AlreadyExists, Conflict, Gone, Invalid, NotFound
from kfcore.client.interface import Client, PatchType, Preconditions
from kfcore.client.rest import RestClient
from kfcore.testing import FakeClient

AnyPod = untyped(Pod.resource)


def a_pod(name: str = "a", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}], "unknownToUs": None},
    }


@pytest.fixture(params=["in process", "over HTTP", "unix socket", "kubeconfig"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RestClient]:
    if request.param == "in process":
        yield FakeClient()
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


async def test_an_object_lives_its_life(client: RestClient) -> None:
    created = await client.create(Pod, a_pod(app="x"))
    assert created.metadata.uid
    assert created.namespace == "default"
    read = await client.get(Pod, "a")
    assert read == created
    patched = await client.patch(Pod, "a", None, {"metadata": {"labels": {"app": "y"}}})
    assert patched.metadata.labels == {"app": "y"}
    assert patched.metadata.resource_version != created.metadata.resource_version
    await client.delete(Pod, "a", grace_period_seconds=0)
    with pytest.raises(NotFound, match='pods "a" not found'):
        await client.get(Pod, "a")


async def test_a_status_is_written_apart(client: RestClient) -> None:
    await client.create(Pod, a_pod())
    await client.patch(Pod, "a", "default", {"status": {"phase": "Running"}}, subresource="status")
    assert (await client.get(Pod, "a")).status.phase == "Running"


async def test_lists_are_sorted_and_selected(client: RestClient) -> None:
    await client.create(Namespace, {"metadata": {"name": "other"}})
    for name in ("c", "a", "b"):
        await client.create(Pod, a_pod(name, app="x" if name != "b" else "y"))
    await client.create(Pod, a_pod("z"), "other")
    assert [pod.key for pod in await client.list(Pod)] == ["default/a", "default/b", "default/c", "other/z"]
    assert [pod.name for pod in await client.list(Pod, "default", label_selector="app=x")] == ["a", "c"]
    assert [pod.name for pod in await client.list(Pod, field_selector="metadata.name!=a,metadata.name!=z")] == [
        "b",
        "c",
    ]


async def test_long_lists_come_in_pages_and_arrive_whole(client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kfcore.client.rest.PAGE_SIZE", 2)
    for number in range(5):
        await client.create(Pod, a_pod(f"pod-{number}"))
    pods = await client.list(Pod)
    assert [pod.name for pod in pods] == [f"pod-{number}" for number in range(5)]
    assert pods.resource_version


async def test_owned_objects_are_found_by_the_owner_s_uid(client: RestClient) -> None:
    owner = await client.create(Pod, a_pod("owner"))
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": owner.metadata.uid, "controller": True}
    child = a_pod("child")
    child["metadata"]["ownerReferences"] = [reference]
    await client.create(Pod, child)
    assert [pod.name for pod in await client.list_owned(Pod, owner)] == ["child"]


async def test_creating_what_exists_is_refused_by_its_own_error(client: RestClient) -> None:
    await client.create(Pod, a_pod())
    with pytest.raises(AlreadyExists):
        await client.create(Pod, a_pod())


async def test_an_update_of_something_changed_meanwhile_conflicts(client: RestClient) -> None:
    await client.create(Pod, a_pod())
    mine = await client.get(AnyPod, "a")
    await client.patch(Pod, "a", None, {"metadata": {"annotations": {"x": "y"}}})
    mine.raw["metadata"]["labels"] = {"late": "yes"}
    with pytest.raises(Conflict):
        await client.update(mine)


async def test_a_projection_cannot_be_written_back(client: RestClient) -> None:
    pod = await client.create(Pod, a_pod())
    with pytest.raises(TypeError, match="use patch"):
        await client.update(pod)


async def test_a_delete_can_insist_on_the_very_object(client: RestClient) -> None:
    await client.create(Pod, a_pod())
    with pytest.raises(Conflict):
        await client.delete(Pod, "a", preconditions=Preconditions(uid="another"))
    await client.get(Pod, "a")


async def test_a_dry_run_changes_nothing(client: RestClient) -> None:
    await client.create(Pod, a_pod("dry"), dry_run=True)
    assert await client.list(Pod) == []
    await client.create(Pod, a_pod())
    await client.delete(Pod, "a", dry_run=True)
    await client.get(Pod, "a")


async def test_a_bad_object_is_refused_with_the_field(client: RestClient) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(Pod, a_pod("Not_A_Name"))
    assert refused.value.status.details
    assert refused.value.status.details.causes[0].field == "metadata.name"


async def test_a_json_patch_is_applied(client: RestClient) -> None:
    await client.create(Pod, a_pod(app="x"))
    patch = [{"op": "replace", "path": "/metadata/labels/app", "value": "z"}]
    patched = await client.patch(Pod, "a", None, patch, patch_type=PatchType.JSON)
    assert patched.metadata.labels == {"app": "z"}


async def test_a_watch_continues_from_a_list(client: RestClient) -> None:
    await client.create(Pod, a_pod("before"))
    version = (await client.list(Pod)).resource_version
    await client.create(Pod, a_pod("after"))
    events = []
    async with asyncio.timeout(5), aclosing(client.watch(Pod, resource_version=version)) as watch:
        async for event in watch:
            if event.type == "BOOKMARK":
                continue
            events.append((event.type, event.object.name))
            if len(events) == 1:
                await client.delete(Pod, "before", grace_period_seconds=0)
            if events[-1][0] == "DELETED":
                break
    assert events[0] == ("ADDED", "after")
    assert events[-1] == ("DELETED", "before")


async def test_a_watch_ends_when_its_time_is_over(client: RestClient) -> None:
    if isinstance(client, FakeClient):
        pytest.skip("its clock stands still")
    async with asyncio.timeout(10):
        assert [event async for event in client.watch(Pod, timeout_seconds=1) if event.type != "BOOKMARK"] == []


async def test_names_never_become_paths(client: RestClient) -> None:
    with pytest.raises(ValueError, match="path segment"):
        await client.get(Pod, "../secrets")


async def test_a_watch_line_of_two_megabytes_arrives(client: RestClient) -> None:
    version = (await client.list(Pod)).resource_version
    big = a_pod("big")
    big["spec"]["containers"][0]["args"] = ["x" * 2_000_000]
    await client.create(Pod, big)
    async with asyncio.timeout(10), aclosing(client.watch(AnyPod, resource_version=version)) as watch:
        async for event in watch:
            assert len(event.object.raw["spec"]["containers"][0]["args"][0]) == 2_000_000
            break


def test_every_client_is_a_client() -> None:
    """Checked by mypy rather than here."""
    client: Client = FakeClient()
    assert client
    assert Gone.code == 410

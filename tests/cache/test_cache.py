"""Reading from memory: shared informers, projections, namespaces, indexes, and objects that do not fit their type."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from kfcore.api.core import Namespace, Pod
from kfcore.api.meta import CustomResource, Model, ServerObject, Struct, untyped
from kfcore.api.resource import Resource
from kfcore.cache.cache import Cache, CacheNotSynced
from kfcore.cache.informer import Change
from kfcore.cache.reflector import Selection
from kfcore.cache.store import Store
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.rest import RestClient
from kfcore.client.transport import Request, Response
from kfcore.testing import FakeClient, FakeClock, FaultyTransport
from kfcore.testing.client import schemaless_crd


class NodeOnly(Struct, frozen=True):
    node_name: str = ""


class PodOnNode(ServerObject, frozen=True):
    """A second projection of a Pod."""

    resource: ClassVar[Resource] = Pod.resource
    spec: NodeOnly = NodeOnly()


class LevelData(Struct, frozen=True):
    level: str


class Level(ServerObject, frozen=True, kw_only=True):
    """A projection that asks for more than every ConfigMap has."""

    resource: ClassVar[Resource] = Resource("", "v1", "ConfigMap", "configmaps")
    data: LevelData


AnyConfig = untyped(Level.resource)


class GaugeSpec(Model):
    level: int


class Gauge(CustomResource):
    spec: GaugeSpec


FORBIDDEN = Response(403, b'{"kind":"Status","reason":"Forbidden","code":403,"message":"pods is forbidden"}')
GAUGE = Resource("tests.example.com", "v1", "Gauge", "gauges")
Gauge.resource = GAUGE  # not registered: its CRD, without a schema, takes what the type refuses


def a_pod(name: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "none"}]},
    }


@asynccontextmanager
async def running(cache: Cache, clock: FakeClock) -> AsyncIterator[Cache]:
    task = asyncio.create_task(cache.run())
    await clock.advance(0)
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_who_asks_for_the_same_type_shares_one_watch(client: FakeClient, wire: Any, clock: FakeClock) -> None:
    cache = Cache(client, clock)
    assert cache.informer(Pod) is cache.informer(Pod)
    async with running(cache, clock):
        await cache.list(Pod)
        await cache.list(Pod, "default")
        assert (wire.lists, wire.watches) == (1, 1)


async def test_two_types_of_one_kind_are_two_projections(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    await server.create(Pod, a_pod("a"))
    async with running(Cache(client, clock), clock) as cache:
        assert (await cache.get(PodOnNode, "a")).spec == NodeOnly(node_name="node-1")
        assert (await cache.get(Pod, "a")).spec.node_name == "node-1"


async def test_reading_costs_no_request(client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock) -> None:
    for name in ("b", "a"):
        await server.create(Pod, a_pod(name, app=name))
    async with running(Cache(client, clock), clock) as cache:
        await cache.list(Pod)
        wire.calls.clear()
        assert [pod.name for pod in await cache.list(Pod)] == ["a", "b"]
        assert [pod.name for pod in await cache.list(Pod, "default", label_selector="app=b")] == ["b"]
        assert [pod.name for pod in await cache.list(Pod, field_selector="metadata.name!=b")] == ["a"]
        assert await cache.list(Pod, "elsewhere") == []
        with pytest.raises(NotFound):
            await cache.get(Pod, "a", "elsewhere")
        assert wire.calls == []


async def test_owned_objects_come_from_the_index(client: FakeClient, server: FakeClient, clock: FakeClock) -> None:
    owner = await server.create(Pod, a_pod("owner"))
    child = a_pod("child", app="x")
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": owner.metadata.uid, "controller": True}
    child["metadata"]["ownerReferences"] = [reference]
    await server.create(Pod, child)
    async with running(Cache(client, clock), clock) as cache:
        assert [pod.name for pod in await cache.list_owned(Pod, owner)] == ["child"]
        assert await cache.list_owned(Pod, owner, label_selector="app=y") == []
        await server.patch(Pod, "child", "default", {"metadata": {"ownerReferences": None}})
        await clock.advance(1)
        assert await cache.list_owned(Pod, owner) == []


async def test_further_indexes_cover_what_is_there_and_what_comes(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    await server.create(Pod, a_pod("a"))
    async with running(Cache(client, clock), clock) as cache:
        await cache.list(Pod)
        cache.add_index(Pod, "node", lambda pod: [pod.spec.node_name])
        await server.create(Pod, a_pod("b"))
        await clock.advance(1)
        assert [pod.name for pod in await cache.by_index(Pod, "node", "node-1")] == ["a", "b"]


async def test_an_index_that_fails_for_one_object_finds_the_others(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    cache = Cache(client, clock)
    cache.add_index(Pod, "node", lambda pod: [pod.metadata.labels["node"]])
    async with running(cache, clock):
        await server.create(Pod, a_pod("unlabelled"))
        await server.create(Pod, a_pod("labelled", node="n1"))
        await clock.advance(1)
        assert [pod.name for pod in await cache.by_index(Pod, "node", "n1")] == ["labelled"]
        assert len(await cache.list(Pod)) == 2


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming lists", "lists in pages"])
async def test_only_the_wanted_namespaces_and_objects_are_watched(
    client: FakeClient, server: FakeClient, clock: FakeClock, streaming: bool
) -> None:
    for name in ("one", "two", "three"):
        await server.create(Namespace, {"metadata": {"name": name}})
        await server.create(Pod, a_pod("a", name, keep="yes"))
        await server.create(Pod, a_pod("b", name))
    selections = {Pod: Selection(label_selector="keep=yes")}
    cache = Cache(client, clock, ["one", "two"], selections=selections, streaming_list=streaming)
    async with running(cache, clock):
        assert [pod.key for pod in await cache.list(Pod)] == ["one/a", "two/a"]
        await server.patch(Pod, "a", "one", {"metadata": {"labels": {"keep": None}}})
        await clock.advance(1)
        assert [pod.key for pod in await cache.list(Pod)] == ["two/a"]
        assert "one" in [namespace.name for namespace in await cache.list(Namespace)]


async def test_the_namespace_that_may_not_be_read_is_named(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    class NotTheirs(FaultyTransport):
        async def send(self, request: Request) -> Response:
            return FORBIDDEN if "/theirs/" in request.path else await super().send(request)

    transport = NotTheirs(client.transport, clock=clock)
    cache = Cache(RestClient(transport), clock, namespaces=["mine", "theirs"], streaming_list=False)
    cache.informer(Pod)
    async with running(cache, clock):
        waiting = asyncio.create_task(cache.wait_for_sync(10))
        await clock.advance(11)
        with pytest.raises(CacheNotSynced, match=r"listed: pods of namespace theirs: Forbidden: pods is forbidden"):
            await waiting


async def test_a_type_that_is_watched_already_cannot_be_narrowed(client: FakeClient, clock: FakeClock) -> None:
    cache = Cache(client, clock)
    cache.select(Pod, Selection(label_selector="keep=yes"))
    cache.informer(Pod)
    with pytest.raises(ValueError, match="select before anyone asks"):
        cache.select(Pod, Selection())


async def test_a_late_subscriber_hears_what_exists_and_a_resync_repeats_it(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    await server.create(Pod, a_pod("a"))
    changes: list[Change[Pod]] = []
    cache = Cache(client, clock, resync_seconds=600)
    async with running(cache, clock):
        await cache.list(Pod)
        cache.informer(Pod).subscribe(changes.append)
        assert [(change.old, change.object.name, change.replay) for change in changes] == [(None, "a", True)]
        await clock.advance(601)
        assert [change.replay for change in changes] == [True, True]
        assert changes[1].old == changes[1].new


async def test_an_object_that_its_type_refuses_hides_no_other_and_says_what_is_wrong(
    client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    server.server.install_crd(schemaless_crd(GAUGE))
    good = {"metadata": {"name": "good", "namespace": "default"}, "spec": {"level": 1}}
    bad = {"metadata": {"name": "bad", "namespace": "default"}, "spec": {"level": "high"}}
    await server.create(Gauge, good)
    with pytest.raises(InvalidObject, match="level"):
        await server.create(Gauge, bad)  # the server has it; reading the answer fails
    seen: list[str] = []
    cache = Cache(client, clock)
    cache.informer(Gauge).subscribe(lambda change: seen.append(change.object.name))
    async with running(cache, clock):
        assert [gauge.name for gauge in await cache.list(Gauge)] == ["good"]
        assert sorted(seen) == ["bad", "good"]
        with pytest.raises(InvalidObject, match=r"Gauge default/bad cannot be read as Gauge: .*\n?.*level"):
            await cache.get(Gauge, "bad")
        await server.patch(Gauge, "bad", "default", {"spec": {"level": 3}})
        await clock.advance(1)
        assert (await cache.get(Gauge, "bad")).spec.level == 3


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming lists", "lists in pages"])
async def test_an_object_that_a_struct_cannot_hold_hides_no_other_and_says_what_is_wrong(
    client: FakeClient, server: FakeClient, clock: FakeClock, streaming: bool
) -> None:
    def a_config(name: str, **data: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "data": data}

    await server.create(AnyConfig, a_config("listed", level="9"))
    await server.create(AnyConfig, a_config("listed-bad"))
    cache = Cache(client, clock, streaming_list=streaming)
    cache.informer(Level)
    async with running(cache, clock):
        await server.create(AnyConfig, a_config("watched-bad"))
        await server.create(AnyConfig, a_config("watched", level="10"))
        await clock.advance(1)
        assert [config.name for config in await cache.list(Level)] == ["listed", "watched"]
        assert (await cache.get(Level, "watched")).data.level == "10"
        with pytest.raises(InvalidObject, match=r"ConfigMap default/watched-bad .* `data`"):
            await cache.get(Level, "watched-bad")


async def test_reading_from_a_cache_that_does_not_run_is_a_mistake_and_says_so(client: FakeClient) -> None:
    with pytest.raises(RuntimeError, match="start it first"):
        await Cache(client).list(Pod)


def test_a_store_forgets_nothing_and_keeps_nothing() -> None:
    from kfcore.api.meta import ObjectMeta

    store: Store[Pod] = Store()
    first = Pod(metadata=ObjectMeta(name="a", namespace="n"))
    second = Pod(metadata=ObjectMeta(name="a", namespace="n", resource_version="2"))
    assert store.set(first) == (None, first)
    assert store.set(second) == (first, second)
    assert len(store) == 1
    assert store.delete("n", "a") is second
    assert store.delete("n", "a") is None
    assert (len(store), store.list()) == (0, [])

"""Whatever happens to lists and watches, the store ends up equal to the server, and no deletion is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kfcore.api.core import Pod
from kfcore.cache.cache import Cache, CacheNotSynced
from kfcore.cache.informer import Change
from kfcore.client.errors import ConnectionFailed
from kfcore.client.transport import Response
from kfcore.testing import FakeClient, FakeClock


def a_pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }


async def create(server: FakeClient, *names: str) -> None:
    for name in names:
        await server.create(Pod, a_pod(name))


async def remove(server: FakeClient, name: str) -> None:
    await server.delete(Pod, name, grace_period_seconds=0)


class Seen:
    """A subscriber's diary: `+a`, `~a`, `-a`."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, change: Change[Pod]) -> None:
        sign = "+" if change.old is None else "-" if change.new is None else "~"
        self.lines.append(sign + change.object.name)


@asynccontextmanager
async def running(cache: Cache, clock: FakeClock) -> AsyncIterator[Seen]:
    seen = Seen()
    cache.informer(Pod).subscribe(seen)
    task = asyncio.create_task(cache.run())
    await clock.advance(0)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


async def names(cache: Cache) -> list[str]:
    return [pod.name for pod in await cache.list(Pod)]


@pytest.fixture(params=[True, False], ids=["streaming lists", "lists in pages"])
def cache(request: pytest.FixtureRequest, client: FakeClient, clock: FakeClock) -> Cache:
    return Cache(client, clock, streaming_list=request.param)


@pytest.fixture
def paging(client: FakeClient, clock: FakeClock) -> Cache:
    return Cache(client, clock, streaming_list=False)


def status(code: int, reason: str, **details: Any) -> Response:
    body = {"kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code}
    return Response(code, json.dumps(body | {"details": details}).encode())


async def test_what_exists_is_listed_and_what_changes_is_watched(
    cache: Cache, client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    await create(server, "a")
    async with running(cache, clock) as seen:
        await create(server, "b")
        await server.patch(Pod, "a", "default", {"metadata": {"labels": {"x": "y"}}})
        await remove(server, "a")
        await clock.advance(1)
        assert seen.lines == ["+a", "+b", "~a", "-a"]
        assert await names(cache) == ["b"]


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b'{"type":"ADDED","object":{"metadata":{"name":"h'),
        Response(200, b"<html>Bad gateway</html>\n"),
        Response(200, b'{"type":"ERROR","object":{"code":"none"}}\n'),
        Response(200, b'{"type":"NEWS","object":{}}\n'),
        Response(200, b""),
        status(500, "InternalError"),
        status(429, "TooManyRequests", retryAfterSeconds=3),
        status(403, "Forbidden"),
        ConnectionFailed("connection refused"),
    ],
    ids=["half a line", "garbage", "strange error", "strange event", "closed at once", "500", "429", "403", "refused"],
)
async def test_a_watch_that_fails_goes_on_where_it_was(
    cache: Cache, answer: Response | Exception, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a")
    async with running(cache, clock) as seen:
        rule = wire.faults.fail("watch", Pod, answer, times=2)
        wire.faults.cut()
        await create(server, "b")
        await remove(server, "a")
        await clock.advance(20)
        assert rule.hits == 2
        assert seen.lines == ["+a", "+b", "-a"]
        assert wire.lists == 1, "the history was not lost, so nothing needed to be listed again"


async def test_a_watch_whose_time_is_over_goes_on_in_another(
    cache: Cache, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    wire.faults.end_watch(Pod, after=1)
    async with running(cache, clock) as seen:
        await clock.advance(5)
        await create(server, "a")
        await clock.advance(0)
        await create(server, "b")
        await clock.advance(1)
        assert seen.lines == ["+a", "+b"]
        assert (wire.lists, wire.watches) == (1, 2)


async def test_a_connection_that_breaks_in_the_middle_loses_nothing(
    cache: Cache, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    async with running(cache, clock) as seen:
        await create(server, "a")
        await clock.advance(1)
        wire.faults.cut()
        await clock.advance(0)
        await create(server, "b")
        await remove(server, "a")
        await clock.advance(5)
        assert seen.lines == ["+a", "+b", "-a"]
        assert wire.lists == 1


@pytest.mark.parametrize(
    "gone",
    [
        status(410, "Expired"),
        Response(200, b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}\n'),
    ],
    ids=["as an answer", "as an event"],
)
async def test_after_410_the_list_tells_what_was_deleted_and_what_was_replaced(
    cache: Cache, gone: Response, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "deleted", "kept", "replaced")
    async with running(cache, clock) as seen:
        wire.faults.fail("watch", Pod, ConnectionFailed("down"))
        wire.faults.fail("watch", Pod, gone)
        wire.faults.cut()
        await remove(server, "deleted")
        await remove(server, "replaced")
        await create(server, "new", "replaced")
        await clock.advance(30)
        assert wire.lists == 2
        assert sorted(seen.lines[:3]) == ["+deleted", "+kept", "+replaced"]
        assert sorted(seen.lines[3:]) == ["+new", "+replaced", "-deleted", "-replaced"]
        assert seen.lines.index("-replaced") < len(seen.lines) - 1 - seen.lines[::-1].index("+replaced")
        assert await names(cache) == ["kept", "new", "replaced"]


@pytest.mark.parametrize(
    "answer",
    [status(500, "InternalError"), status(429, "TooManyRequests", retryAfterSeconds=7), ConnectionFailed("no route")],
    ids=["500", "429", "unreachable"],
)
async def test_a_list_that_fails_is_tried_again_with_growing_delays(
    cache: Cache, answer: Response | Exception, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a")
    wire.faults.fail(None, Pod, answer, times=3)
    async with running(cache, clock) as seen:
        assert wire.lists == 1
        await clock.advance(30)
        assert wire.lists == 4
        assert seen.lines == ["+a"]


async def test_many_whose_server_went_away_do_not_come_back_at_once(server: FakeClient, clock: FakeClock) -> None:
    clients = [FakeClient(clock=clock, server=server.server) for _ in range(20)]
    times: set[float] = set()
    tasks = []
    for client in clients:
        client.faults.fail("watch", Pod, status(500, "InternalError"))
        cache = Cache(client, clock)
        cache.informer(Pod).subscribe(lambda change: times.add(clock.monotonic()))
        tasks.append(asyncio.create_task(cache.run()))
    await create(server, "a")
    await clock.advance(5)
    assert len(times) > 10
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_kind_without_its_crd_works_within_a_second_of_it(
    cache: Cache, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a")
    wire.faults.fail(None, Pod, status(404, "NotFound"), times=120)
    async with running(cache, clock) as seen:
        await clock.advance(100)
        assert seen.lines == ["+a"]


async def test_a_server_that_asks_to_wait_is_left_in_peace_for_so_long(
    cache: Cache, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    wire.faults.fail(None, Pod, status(429, "TooManyRequests", retryAfterSeconds=60))
    async with running(cache, clock):
        await clock.advance(59)
        assert wire.lists == 1
        await clock.advance(15)
        assert wire.lists == 2


async def test_an_expired_page_token_starts_a_list_without_pages(
    paging: Cache, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a", "b")
    first_page = {"metadata": {"resourceVersion": "1", "continue": "token"}, "items": []}
    wire.faults.fail("list", Pod, Response(200, json.dumps(first_page).encode()))
    wire.faults.fail("list", Pod, status(410, "Expired"))
    async with running(paging, clock):
        assert await names(paging) == ["a", "b"]
        assert "limit" not in wire.calls[2].query


async def test_a_watch_that_silently_stalls_is_renewed(
    cache: Cache, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    async with running(cache, clock) as seen:
        wire.faults.stall()
        await create(server, "a")
        await clock.advance(100)
        assert seen.lines == []
        await clock.advance(400)
        assert seen.lines == ["+a"]
        assert wire.watches >= 2


async def test_a_deadline_names_the_kind_that_does_not_sync_and_why(
    cache: Cache, client: FakeClient, wire: Any, clock: FakeClock
) -> None:
    wire.faults.fail(None, Pod, status(403, "Forbidden"), times=None)
    async with running(cache, clock):
        waiting = asyncio.create_task(cache.wait_for_sync(10))
        await clock.advance(11)
        with pytest.raises(CacheNotSynced, match=r"after 10 seconds .* pods: Forbidden"):
            await waiting


async def test_reading_waits_until_the_kind_is_listed(
    cache: Cache, client: FakeClient, server: FakeClient, clock: FakeClock
) -> None:
    await create(server, "a")
    task = asyncio.create_task(cache.run())
    await clock.advance(0)
    assert await names(cache) == ["a"]
    task.cancel()


async def test_a_server_without_streaming_lists_is_asked_for_pages(
    cache: Cache, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a")
    wire.faults.fail("watch", Pod, status(422, "Invalid"), times=1)
    async with running(cache, clock) as seen:
        await create(server, "b")
        await clock.advance(5)
        assert seen.lines == ["+a", "+b"]
        assert not any("sendInitialEvents" in call.query for call in wire.calls[1:])


@pytest.mark.parametrize("ends", ["breaks", "ends"])
async def test_half_a_list_is_not_taken_for_the_whole(
    ends: str, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    """What the half does not show would else be told as deleted."""
    await create(server, "a", "b", "c", "d")
    async with running(Cache(client, clock), clock) as seen:
        assert seen.lines == ["+a", "+b", "+c", "+d"]
        wire.faults.fail("watch", Pod, status(410, "Expired"))
        (wire.faults.break_watch if ends == "breaks" else wire.faults.end_watch)(Pod, after=2)
        wire.faults.cut()
        await remove(server, "a")
        await clock.advance(60)
        assert wire.lists > 2, "the list was begun, and begun again"
        assert seen.lines == ["+a", "+b", "+c", "+d", "-a"]


async def test_nothing_is_shown_of_a_first_list_before_it_is_whole(
    client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a", "b", "c")
    wire.faults.stall_watch(Pod, after=2)
    cache = Cache(client, clock)
    async with running(cache, clock) as seen:
        await clock.advance(60)
        assert (seen.lines, cache.informer(Pod).synced) == ([], False)
        await clock.advance(600)
        assert (seen.lines, cache.informer(Pod).synced) == (["+a", "+b", "+c"], True)


async def test_a_page_that_is_cut_short_is_asked_for_again(
    paging: Cache, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    await create(server, "a", "b")
    half = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"'
    wire.faults.fail("list", Pod, Response(200, half))
    async with running(paging, clock) as seen:
        await clock.advance(5)
        assert seen.lines == ["+a", "+b"]


async def test_a_watch_is_resumed_where_the_last_bookmark_was(
    cache: Cache, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    bookmark = b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"777"}}}'
    wire.faults.garble_watch(Pod, bookmark, after=1)
    async with running(cache, clock):
        await create(server, "b")
        await clock.advance(1)
        wire.faults.fail("watch", Pod, status(500, "InternalError"))
        wire.faults.cut()
        await clock.advance(1)
        assert "777" in [call.query.get("resourceVersion") for call in wire.calls]
        assert wire.lists == 1


async def test_a_watch_asks_the_server_to_end_it_after_minutes_each_a_different_time(
    cache: Cache, wire: Any, clock: FakeClock
) -> None:
    async with running(cache, clock):
        for _ in range(10):
            await clock.advance(60)
            wire.faults.cut()
        asked = [int(call.query["timeoutSeconds"]) for call in wire.calls if "watch" in call.query]
        assert all(300 <= seconds <= 600 for seconds in asked)
        assert len(set(asked)) > 1


async def test_watches_that_are_closed_at_once_are_not_opened_without_pause(
    cache: Cache, wire: Any, clock: FakeClock
) -> None:
    async with running(cache, clock):
        wire.faults.fail("watch", Pod, Response(200, b""), times=None)
        wire.faults.cut()
        await clock.advance(60)
        assert wire.watches < 20

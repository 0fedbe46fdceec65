"""Watches and lists over time: what a client that went away, or fell behind, gets."""

from __future__ import annotations

import json
from typing import Any

from kfcore.apiserver import storage, watch
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock, settle

MAPS = "/api/v1/namespaces/default/configmaps"


def a_server() -> ApiServer:
    return ApiServer(clock=FakeClock(), seed=1)


async def call(server: ApiServer, method: str, path: str, body: Any = None, **query: str) -> Any:
    data = b"" if body is None else json.dumps(body).encode()
    answer = await server.handle(Request(method, path, query, {}, data))
    return json.loads(answer.body) if isinstance(answer.body, bytes) else answer.body


async def create(server: ApiServer, name: str) -> Any:
    return await call(server, "POST", MAPS, {"metadata": {"name": name}})


async def touch(server: ApiServer, name: str, value: int) -> Any:
    return await call(server, "PUT", f"{MAPS}/{name}", {"metadata": {"name": name}, "data": {"i": str(value)}})


async def test_a_watch_from_before_the_history_is_told_to_list_again() -> None:
    server = a_server()
    first = await create(server, "a")
    for value in range(storage.HISTORY + 1):
        await touch(server, "a", value)
    event = await call(server, "GET", MAPS, watch="1", resourceVersion=first["metadata"]["resourceVersion"])
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["reason"] == "Expired"


async def test_pages_show_one_moment_whatever_changes_between_them() -> None:
    server = a_server()
    for name in "abcd":
        await create(server, name)
    page = await call(server, "GET", MAPS, limit="2")
    assert page["metadata"]["remainingItemCount"] == 2
    await call(server, "DELETE", f"{MAPS}/c")
    await create(server, "cc")
    rest = await call(server, "GET", MAPS, limit="2", **{"continue": page["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]
    assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]


async def test_a_watcher_that_does_not_read_is_cut_off() -> None:
    server = a_server()
    await create(server, "a")
    stream = await call(server, "GET", MAPS, watch="1")
    for value in range(watch.BACKLOG + 1):
        await touch(server, "a", value)
    assert [chunk async for chunk in stream] == []
    assert server.storage.collection("configmaps").subscribers == []


async def test_a_thousand_watches_of_one_kind_all_hear_of_a_change() -> None:
    server = a_server()
    streams = [await call(server, "GET", MAPS, watch="1") for _ in range(1000)]
    await create(server, "a")
    for stream in streams:
        event = json.loads(await anext(stream))
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
    await server.close()


async def test_an_idle_watch_gets_bookmarks_and_ends_when_asked() -> None:
    clock = FakeClock()
    server = ApiServer(clock=clock, seed=1)
    stream = await call(server, "GET", MAPS, watch="1", allowWatchBookmarks="true", timeoutSeconds="90")
    await clock.advance(100)
    await settle()
    events = [json.loads(line) async for chunk in stream for line in chunk.splitlines()]
    assert [event["type"] for event in events] == ["BOOKMARK", "BOOKMARK"]
    assert "annotations" in events[0]["object"]["metadata"]  # the end of what was there at the beginning
    assert events[1]["object"]["metadata"] == {"resourceVersion": str(server.storage.version)}


async def test_a_closed_watch_leaves_nothing_behind() -> None:
    server = a_server()
    stream = await call(server, "GET", MAPS, watch="1")
    await stream.aclose()
    assert server.storage.collection("configmaps").subscribers == []


async def test_closing_the_server_ends_every_watch() -> None:
    server = a_server()
    stream = await call(server, "GET", MAPS, watch="1")
    await server.close()
    assert [chunk async for chunk in stream] == []

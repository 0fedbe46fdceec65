"""Notebooks that nobody uses are stopped, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web
from notebook_cluster import NAMESPACE, Cluster, a_notebook

from kfcore.services import OpenedService
from kfcore.testing import FakeClock
from kfcore_notebook.activity import HttpServers, Unreachable
from kfcore_notebook.api import Notebook
from kfcore_notebook.idleness import Activity
from kfcore_notebook.settings import NotebookSettings

STOPPED = "kubeflow-resource-stopped"
LAST = "notebooks.kubeflow.org/last-activity"
CHECK = "notebooks.kubeflow.org/last_activity_check_timestamp"
MINUTE = 60.0
CULLING = NotebookSettings(culling=True, idle_seconds=10 * MINUTE, check_seconds=MINUTE, cull_concurrency=4)


class Told:
    """Servers that tell what the test wants; None: nothing at all."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.activity: dict[str, Activity | Unreachable] = {}
        self.asked: list[str] = []
        self.takes = 0.0

    async def ask(self, notebook: Notebook) -> Activity:
        self.asked.append(notebook.name)
        told = self.activity.get(notebook.name, Activity())
        await self.clock.sleep(self.takes)
        if isinstance(told, Unreachable):
            raise told
        return told

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def culling(settings: NotebookSettings = CULLING, *names: str) -> AsyncIterator[tuple[Cluster, Told]]:
    cluster = Cluster(settings)
    told = Told(cluster.clock)
    async with cluster.operator(servers=told):
        for name in names or ("nb",):
            await cluster.create(a_notebook(name))
            await cluster.pod_runs(name)
        yield cluster, told


async def test_a_busy_kernel_keeps_it_and_an_idle_one_is_stopped_within_a_period() -> None:
    async with culling() as (cluster, told):
        told.activity["nb"] = Activity(busy=True)
        await cluster.rest(30 * MINUTE)
        assert STOPPED not in await cluster.annotations()
        told.activity["nb"] = Activity(last=cluster.clock.now())
        await cluster.rest(9 * MINUTE)
        assert STOPPED not in await cluster.annotations()
        await cluster.rest(3 * MINUTE)
        assert STOPPED in await cluster.annotations()
        assert (await cluster.stateful_set())["spec"]["replicas"] == 0


async def test_an_answer_that_came_late_says_nothing_of_the_time_since_the_question() -> None:
    async with culling() as (cluster, told):
        told.activity["nb"] = Activity(last=cluster.clock.now())
        told.takes = 60 * MINUTE  # the machine slept in between
        await cluster.rest(2 * MINUTE)
        assert told.asked == ["nb"]
        told.activity["nb"] = Activity(busy=True)
        await cluster.rest(70 * MINUTE)
        assert STOPPED not in await cluster.annotations()


async def test_a_kernel_shut_down_after_its_work_is_no_reason_to_stop_at_once_for_an_old_terminal() -> None:
    async with culling() as (cluster, told):
        opened = cluster.clock.now()  # a terminal that nobody has used since
        told.activity["nb"] = Activity(busy=True, last=opened)
        await cluster.rest(30 * MINUTE)
        told.activity["nb"] = Activity(last=opened)
        await cluster.rest(9 * MINUTE)
        assert STOPPED not in await cluster.annotations()
        await cluster.rest(3 * MINUTE)
        assert STOPPED in await cluster.annotations()


async def test_n7_a_notebook_that_was_stopped_comes_back_and_is_not_stopped_at_once() -> None:
    async with culling() as (cluster, told):
        told.activity["nb"] = Activity(last=cluster.clock.now())
        await cluster.rest(15 * MINUTE)
        assert STOPPED in await cluster.annotations()
        await cluster.pod_goes()
        assert LAST not in await cluster.annotations()
        await cluster.rest(600 * MINUTE)
        await cluster.set_annotation(STOPPED, None)
        await cluster.pod_runs()
        await cluster.rest(8 * MINUTE)  # its kernels' times are of the time before
        assert STOPPED not in await cluster.annotations()
        await cluster.rest(5 * MINUTE)
        assert STOPPED in await cluster.annotations()


async def test_n8_a_server_that_cannot_be_reached_is_named_and_not_stopped() -> None:
    async with culling() as (cluster, told):
        told.activity["nb"] = Unreachable("Forbidden", "403")
        await cluster.rest(60 * MINUTE)
        assert STOPPED not in await cluster.annotations()
        assert (await cluster.condition("ServerReachable"))["reason"] == "Forbidden"
        told.activity["nb"] = Activity(busy=True)
        await cluster.rest(2 * MINUTE)
        assert await cluster.condition("ServerReachable") == {}


async def test_n8_a_server_that_cannot_be_reached_is_stopped_where_the_operator_was_told_to() -> None:
    async with culling(msgspec.structs.replace(CULLING, cull_unreachable=True)) as (cluster, told):
        told.activity["nb"] = Unreachable("Timeout", "10 s")
        await cluster.rest(13 * MINUTE)
        assert STOPPED in await cluster.annotations()


async def test_n6_culling_can_be_disabled_and_timed_for_each_notebook() -> None:
    async with culling(CULLING, "kept", "short", "odd") as (cluster, told):
        await cluster.set_annotation("notebooks.kubeflow.org/culling", "disabled", "kept")
        await cluster.set_annotation("notebooks.kubeflow.org/cull-idle-time", "3", "short")
        await cluster.set_annotation("notebooks.kubeflow.org/cull-idle-time", "long", "odd")
        told.asked.clear()
        await cluster.rest(6 * MINUTE)
        assert STOPPED in await cluster.annotations("short")
        assert STOPPED not in await cluster.annotations("odd")
        assert (await cluster.condition("AnnotationsValid", "odd"))["reason"] == "MalformedAnnotation"
        await cluster.rest(60 * MINUTE)
        assert STOPPED not in await cluster.annotations("kept")
        assert "kept" not in told.asked


async def test_the_times_are_noted_once_a_period_and_spoilt_ones_are_set_anew() -> None:
    async with culling() as (cluster, told):
        told.activity["nb"] = Activity(busy=True)
        await cluster.rest(MINUTE)
        cluster.client.requests.clear()
        await cluster.rest(10 * MINUTE)
        assert cluster.writes == [("PATCH", f"/apis/kubeflow.org/v1/namespaces/{NAMESPACE}/notebooks/nb")] * 10
        await cluster.set_annotation(LAST, "yesterday")
        await cluster.rest(2 * MINUTE)
        assert (await cluster.annotations())[LAST].startswith("2024-01-01T")


@asynccontextmanager
async def a_server(answer: Any, settings: NotebookSettings = CULLING) -> AsyncIterator[HttpServers]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    servers = HttpServers(settings, FakeClock(), door=lambda namespace, name, port: OpenedService(url))
    try:
        yield servers
    finally:
        await servers.close()
        await runner.cleanup()


def notebook(**annotations: str) -> Notebook:
    return Notebook.model_validate(a_notebook(annotations={k.replace("__", "/"): v for k, v in annotations.items()}))


async def test_n5_terminals_count_beside_kernels() -> None:
    async def answer(request: web.Request) -> web.Response:
        time = "2026-01-01T10:00:00Z" if request.path.endswith("kernels") else "2026-01-01T12:00:00Z"
        return web.json_response([{"execution_state": "idle", "last_activity": time}])

    async with a_server(answer) as servers:
        assert str((await servers.ask(notebook())).last) == "2026-01-01 12:00:00+00:00"
    kernels_only = NotebookSettings(culling=True, cull_sources=("kernels",))
    async with a_server(answer, kernels_only) as servers:
        assert str((await servers.ask(notebook())).last) == "2026-01-01 10:00:00+00:00"


async def test_n6_a_server_that_is_no_jupyter_tells_its_activity_at_a_path_of_its_own() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path != "/healthz":
            return web.Response(status=404)
        return web.json_response({"last_activity": "2026-01-01T10:00:00Z"})

    own = {"notebooks.kubeflow.org/activity-path": "/healthz"}
    async with a_server(answer) as servers:
        told = await servers.ask(Notebook.model_validate(a_notebook(annotations=own)))
        assert str(told.last) == "2026-01-01 10:00:00+00:00"
        missing = {"notebooks.kubeflow.org/activity-path": "/nowhere"}
        with pytest.raises(Unreachable) as raised:
            await servers.ask(Notebook.model_validate(a_notebook(annotations=missing)))
        assert raised.value.reason == "NotFound"
        for elsewhere in ("http://evil.example/", "//evil.example/x", "\\\\evil.example"):
            annotations = {"notebooks.kubeflow.org/activity-path": elsewhere}
            with pytest.raises(Unreachable) as raised:
                await servers.ask(Notebook.model_validate(a_notebook(annotations=annotations)))
            assert raised.value.reason == "InvalidActivityPath"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, "RBAC: access denied", "Forbidden"),
        (302, "", "Redirected"),
        (500, "", "UnexpectedAnswer"),
        (200, "<html>", "UnexpectedAnswer"),
        (200, '{"message": "no list"}', "UnexpectedAnswer"),
        (200, "[" + "1," * 700_000 + "1]", "UnexpectedAnswer"),
        (404, "", "NotFound"),
    ],
)
async def test_n8_an_answer_that_is_none_is_named_and_no_redirect_is_followed(
    status: int, body: str, reason: str
) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, text=body, headers={"Location": "/elsewhere"} if status == 302 else {})

    async with a_server(answer) as servers:
        with pytest.raises(Unreachable) as raised:
            await servers.ask(notebook())
    assert raised.value.reason == reason
    assert asked == ["/notebook/team/nb/api/kernels"]


async def test_n10_one_slow_server_delays_nobody() -> None:
    cluster = Cluster(CULLING)

    class OneSleeps(Told):
        async def ask(self, notebook: Notebook) -> Activity:
            self.asked.append(notebook.name)
            if notebook.name == "slow":
                await self.clock.sleep(10 * MINUTE)
            return Activity(busy=True)

    told = OneSleeps(cluster.clock)
    async with cluster.operator(servers=told):
        for name in ("slow", "a", "b", "c"):
            await cluster.create(a_notebook(name))
            await cluster.pod_runs(name)
        told.asked.clear()
        await cluster.rest(5 * MINUTE)
        assert told.asked.count("slow") == 1
        assert min(told.asked.count(name) for name in "abc") >= 4


def test_times_are_compared_in_utc() -> None:
    from kfcore_notebook.idleness import parse_time

    there, here = parse_time("2026-01-01T12:00:00+02:00"), parse_time("2026-01-01T10:00:00Z")
    assert there is not None
    assert here is not None
    assert there - here == timedelta(0)

"""A kubelet that begins where another one ended, gracefully or not: pods, their processes and their logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from patience import PATIENCE, eventually

from kfcore.api.core import Event, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.apiserver.logs import LogOptions
from kfcore.client.errors import NotFound
from kfcore.clock import SystemClock
from kfcore.testing.client import FakeClient
from kfcore_local.kubelet import Kubelet

POD = untyped(Pod.resource)
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.01; done"


class Machine:
    """One API server over the kubelets that come and go."""

    def __init__(self, root: Path) -> None:
        self.client = FakeClient(clock=SystemClock())
        self.root = root

    @asynccontextmanager
    async def a_kubelet(self) -> AsyncIterator[Kubelet]:
        kubelet = Kubelet(self.client, node_name="here", root=self.root)
        task = asyncio.create_task(kubelet.run())
        try:
            yield kubelet
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def create(self, script: str, policy: str, **spec: Any) -> None:
        container = {"name": "main", "image": "any", "command": ["sh", "-c", script]}
        spec = {"nodeName": "here", "restartPolicy": policy, "containers": [container], **spec}
        await self.client.create(POD, {"metadata": {"name": "pod", "namespace": "default"}, "spec": spec})

    async def until(self, state: Callable[[Manifest], object]) -> Manifest:
        events: Any = self.client.watch(POD, "default", resource_version="0")
        async with asyncio.timeout(PATIENCE), aclosing(events):
            async for event in events:
                if event.type == "DELETED" or (event.type != "BOOKMARK" and state(event.object.raw)):
                    return dict(event.object.raw)
        raise AssertionError("the watch ended")

    async def has_no_files(self) -> bool:
        return not list((self.root / "pods").iterdir())

    async def has_no_pods(self) -> bool:
        return not await self.client.list(POD, "default")

    async def log(self, kubelet: Kubelet, *, previous: bool = False) -> str:
        pod = (await self.client.get(POD, "pod", "default")).raw
        return b"".join([c async for c in kubelet.read(pod, "main", LogOptions(previous=previous))]).decode()


def count(path: Path, word: str) -> Callable[[], Awaitable[int]]:
    async def counted() -> int:
        return words(path).count(word)

    return counted


async def came_to(path: Path, word: str, number: int) -> bool:
    return words(path).count(word) == number


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def main_container(pod: Manifest) -> Manifest:
    statuses = pod.get("status", {}).get("containerStatuses") or [{"state": {}, "restartCount": 0}]
    return dict(statuses[0])


def runs(pod: Manifest) -> bool:
    return "running" in main_container(pod)["state"]


async def test_a_container_that_ran_is_started_again_where_its_policy_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.create(f"echo hello; {FOREVER}", "OnFailure")
    async with machine.a_kubelet() as kubelet:
        await machine.until(runs)
        await eventually(lambda: machine.log(kubelet))
    async with machine.a_kubelet() as kubelet:
        pod = await machine.until(lambda pod: runs(pod) and main_container(pod)["restartCount"] == 1)
        assert await machine.log(kubelet, previous=True) == "hello\n"
        await kubelet.flush_events()
        reasons = [event.reason for event in await machine.client.list(Event)]
    ended = main_container(pod)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    assert "SandboxChanged" in reasons


async def test_a_pod_that_is_never_restarted_has_failed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    marker = tmp_path / "starts"
    await machine.create(f"echo x >> {marker}; {FOREVER}", "Never")
    async with machine.a_kubelet():
        await machine.until(runs)
        await eventually(count(marker, "x"))
    async with machine.a_kubelet() as kubelet:
        pod = await machine.until(lambda pod: pod["status"]["phase"] == "Failed")
        assert await machine.log(kubelet) == ""
    assert main_container(pod)["state"]["terminated"]["message"] == "kfcore ended while the container was running"
    assert marker.read_text() == "x\n"


async def test_of_two_containers_only_the_one_that_is_not_done_runs_again_after_the_init_containers(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    trace = tmp_path / "trace"
    scripts = {"done": f"echo done >> {trace}", "going": f"echo going >> {trace}; {FOREVER}"}
    containers = [{"name": n, "image": "any", "command": ["sh", "-c", s]} for n, s in scripts.items()]
    init = [{"name": "init", "image": "any", "command": ["sh", "-c", f"echo init >> {trace}"]}]

    def one_is_done(pod: Manifest) -> bool:
        states = [status["state"] for status in pod.get("status", {}).get("containerStatuses", [])]
        return len(states) == 2 and "terminated" in states[0] and "running" in states[1]

    await machine.create("", "OnFailure", containers=containers, initContainers=init)
    async with machine.a_kubelet():
        await machine.until(one_is_done)
        await eventually(count(trace, "going"))
    before = sorted(trace.read_text().split())
    async with machine.a_kubelet():
        await machine.until(lambda pod: one_is_done(pod) and pod["status"]["containerStatuses"][1]["restartCount"] == 1)
        await eventually(lambda: came_to(trace, "going", 2))
    assert before == ["done", "going", "init"]
    assert sorted(trace.read_text().split()) == ["done", "going", "going", "init", "init"]


async def test_a_finished_pod_keeps_its_log_until_it_is_deleted(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.create("echo the end", "Never")
    async with machine.a_kubelet():
        await machine.until(lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
    async with machine.a_kubelet() as kubelet:
        await eventually(lambda: has_log(machine, kubelet))
        assert await machine.log(kubelet) == "the end\n"
        await machine.client.delete(POD, "pod", "default")
        await eventually(machine.has_no_files)


async def has_log(machine: Machine, kubelet: Kubelet) -> bool:
    try:
        return bool(await machine.log(kubelet))
    except NotFound:  # the kubelet has not seen the pod yet
        return False


async def test_what_a_pod_left_that_was_deleted_meanwhile_is_cleared(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.create("echo x", "Never")
    async with machine.a_kubelet():
        await machine.until(lambda pod: pod.get("status", {}).get("phase") == "Succeeded")
    assert not await machine.has_no_files()
    await machine.client.delete(POD, "pod", "default", grace_period_seconds=0)
    async with machine.a_kubelet():
        await eventually(machine.has_no_files)


async def test_a_pod_that_was_being_deleted_goes_without_being_started(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    marker = tmp_path / "starts"
    await machine.create(f"echo x >> {marker}; {FOREVER}", "Always")
    async with machine.a_kubelet():
        await machine.until(runs)
        await eventually(count(marker, "x"))
    await machine.client.delete(POD, "pod", "default")
    async with machine.a_kubelet():
        await eventually(machine.has_no_pods)
    assert marker.read_text() == "x\n"

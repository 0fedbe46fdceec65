"""What `kfcore local run` shows of jobs while it follows them: the API tells of pods, a kubelet has their logs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from patience import eventually

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.apiserver.logs import LogOptions
from kfcore.clock import SystemClock
from kfcore.testing import FakeClient
from kfcore.testing.client import schemaless_crd
from kfcore_local.console import Console
from kfcore_local.follow import Follower
from kfcore_local.progress import JobKey, Outcome
from kfcore_pytorch import PyTorchJob

POD, JOB = untyped(Pod.resource), untyped(PyTorchJob.resource)
MANIFEST: Manifest = {"metadata": {"name": "mine"}, "spec": {"containers": [{"name": "pytorch"}]}}


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]


class Logs:
    """Of the container, and of its run before. The end of a log comes after `pause` seconds."""

    def __init__(self, now: bytes, before: bytes = b"", pause: float = 0) -> None:
        self.now = now
        self.before = before
        self.pause = pause

    async def read(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if options.previous:
            yield self.before
            return
        first, _, rest = self.now.partition(b"\n")
        yield first + b"\n"
        await asyncio.sleep(self.pause)
        yield rest


class Following:
    def __init__(self, logs: Logs) -> None:
        self.client = FakeClient(schemaless_crd(PyTorchJob.resource), clock=SystemClock())
        self.stream = Screen()
        self.follower = Follower(self.client, logs, Console(self.stream), SystemClock())
        self.task: asyncio.Task[list[Outcome]]

    @property
    def shown(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    async def begin(self, **metadata: Any) -> None:
        """`metadata`: more of the pod's; one that is kept by a finalizer is not followed before `follow` is called."""
        job = await self.client.create(JOB, MANIFEST, "default")
        owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "mine", "controller": True}
        references = [{**owner, "uid": job.metadata.uid}]
        pod = {"metadata": {"name": "mine-master-0", "ownerReferences": references, **metadata}}
        spec = {"containers": [{"name": "pytorch", "image": "i"}]}
        await self.client.create(POD, {**pod, "spec": spec}, "default")
        if not metadata:
            self.follow()

    def follow(self) -> None:
        key = JobKey(PyTorchJob.resource, "default", "mine")
        self.task = asyncio.create_task(self.follower.follow({key: MANIFEST}))

    async def pod(self, **status: Any) -> None:
        await self.client.patch(POD, "mine-master-0", "default", {"status": status}, subresource="status")

    async def container(self, state: Manifest, restarts: int = 0, **more: Any) -> None:
        status = {"name": "pytorch", "state": state, "restartCount": restarts, "ready": False, "image": "", **more}
        await self.pod(phase="Running", containerStatuses=[{**status, "imageID": ""}])

    async def end(self, condition: str) -> Outcome:
        conditions = [{"type": condition, "status": "True", "reason": "x", "message": "done"}]
        await self.client.patch(JOB, "mine", "default", {"status": {"conditions": conditions}}, subresource="status")
        [outcome] = await self.task
        return outcome

    async def until_shown(self, line: str) -> None:
        async def is_shown() -> bool:
            return line in self.shown

        await eventually(is_shown, line)


@pytest.mark.parametrize("condition", ["Succeeded", "Failed"])
async def test_the_log_of_what_has_ended_is_shown_whole_however_late_it_comes(condition: str) -> None:
    following = Following(Logs(b"first\nlast\n", pause=2.5))
    await following.begin()
    await following.container({"terminated": {"exitCode": 1, "reason": "Error"}})
    await following.until_shown("master-0 │ first")
    outcome = await following.end(condition)
    assert following.shown[-2:] == ["master-0 │ last", f"mine  {condition}  done"]
    assert all(failure.last_lines == ("first", "last") for failure in outcome.failures)


async def test_a_job_that_has_ended_does_not_wait_for_those_of_its_replicas_that_go_on() -> None:
    following = Following(Logs(b"first\nlast\n", pause=100_000))
    await following.begin()
    await following.container({"running": {}})
    await following.until_shown("master-0 │ first")
    assert (await following.end("Failed")).condition == "Failed"


async def test_a_run_that_was_over_before_anybody_saw_it_is_shown_too() -> None:
    following = Following(Logs(b"second try\n", before=b"first try\n"))
    await following.begin()
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    await following.container({"running": {}}, restarts=1, lastState=last)
    await following.until_shown("master-0 │ second try")
    await following.end("Succeeded")
    assert [line for line in following.shown if "try" in line] == ["master-0 │ first try", "master-0 │ second try"]


async def test_the_log_of_a_pod_is_shown_that_is_seen_first_when_it_is_being_deleted() -> None:
    following = Following(Logs(b"first\nlast\n"))
    await following.begin(finalizers=["example.com/keeps-it"])
    await following.container({"terminated": {"exitCode": 143, "reason": "Error"}})
    await following.client.delete(POD, "mine-master-0", "default")
    following.follow()
    await following.until_shown("master-0 │ first")
    outcome = await following.end("Failed")
    assert following.shown == ["master-0 │ first", "master-0 │ last", "mine  Failed  done"]
    assert outcome.failures == ()  # it was stopped


async def test_that_this_machine_is_no_node_yet_is_not_told() -> None:
    following = Following(Logs(b""))
    await following.begin()
    message = "no nodes available to schedule pods"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    await following.pod(conditions=[condition])
    waiting = {"waiting": {"reason": "CreateContainerError", "message": "no command"}}
    await following.container(waiting)
    await following.until_shown("mine  Waiting  master-0: CreateContainerError: no command")
    await following.end("Succeeded")
    assert [line for line in following.shown if "no nodes" in line] == []

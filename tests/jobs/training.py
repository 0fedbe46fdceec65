"""What the job tests arrange with: a job kind of their own, and a cluster whose kubelet is the test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from kfcore.api.core import Event, Pod, Service
from kfcore.api.jobs import Job, JobSpec, ReplicaSpec
from kfcore.api.meta import Manifest, untyped
from kfcore.controller.controller import Result
from kfcore.jobs.controller import JobController
from kfcore.testing import FakeClient, FakeClock, reconcile


class MarchJobSpec(JobSpec):
    replica_specs: dict[Literal["Leader", "Walker"], ReplicaSpec] = Field(alias="marchReplicaSpecs")


class MarchJob(Job[MarchJobSpec], group="example.com", version="v1", kind="MarchJob"): ...


class MarchJobController(JobController[MarchJob]):
    """The least that a framework can say."""

    container_name, port = "march", 7000

    def set_cluster_spec(self, job, template, replica_type, index):  # type: ignore[no-untyped-def]
        template.set_env("MARCH_INDEX", str(index))


def a_march_job(
    walkers: int = 2, *, name: str = "march", restart_policy: str = "OnFailure", **run_policy: Any
) -> Manifest:
    template = {"spec": {"containers": [{"name": "march", "image": "busybox"}]}}
    walker = {"replicas": walkers, "restartPolicy": restart_policy, "template": template}
    return {
        "apiVersion": "example.com/v1",
        "kind": "MarchJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"runPolicy": run_policy, "marchReplicaSpecs": {"Walker": walker}},
    }


class Training:
    """A cluster with one job and its controller; the test plays the kubelet and owns the time."""

    def __init__(
        self, job: Manifest, *objects: Manifest, controller: type[JobController[Any]] = MarchJobController
    ) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(job, *objects, clock=self.clock)
        self.name = job["metadata"]["name"]
        self.controller_type = controller
        self.kind: type[Job[Any]] = controller.kind
        self.restart_operator()

    async def reconcile(self) -> Result:
        return await reconcile(self.controller, f"default/{self.name}")

    async def reconciled(self, times: int = 4) -> Result:
        """Until the operator has seen the results of what it did."""
        result = Result()
        for _ in range(times):
            result = await self.reconcile()
        return result

    def restart_operator(self) -> None:
        self.controller = self.controller_type(self.client)

    async def job(self) -> Job[Any]:
        return await self.client.get(self.kind, self.name, "default")

    async def patch(self, spec: Manifest) -> None:
        await self.client.patch(untyped(self.kind.resource), self.name, "default", {"spec": spec})

    async def pods(self) -> list[str]:
        return [pod.name for pod in await self.client.list(Pod, "default")]

    async def services(self) -> list[str]:
        return [service.name for service in await self.client.list(Service, "default")]

    async def uid(self, pod: str) -> str:
        return (await self.client.get(Pod, pod, "default")).metadata.uid

    async def set(self, *pods: str, phase: str, exit_code: int | None = None, restarts: int = 0) -> None:
        """What the kubelet would report of these pods (all, when none is named)."""
        for name in pods or await self.pods():
            state: Manifest = {"running": {}} if phase == "Running" else {"waiting": {}}
            if exit_code is not None:
                state = {"terminated": {"exitCode": exit_code}}
            status = {
                "name": self.controller_type.container_name,
                "image": "",
                "imageID": "",
                "ready": phase == "Running",
            }
            container = {**status, "restartCount": restarts, "state": state}
            body = {"status": {"phase": phase, "containerStatuses": [container]}}
            await self.client.patch(Pod, name, "default", body, subresource="status")

    async def pod_specs(self) -> dict[str, Manifest]:
        return {pod.name: pod.raw["spec"] for pod in await self.client.list(untyped(Pod.resource), "default")}

    async def conditions(self) -> list[str]:
        """`Running`, and `Running=False` where it is not true."""
        return [c.type if c.status == "True" else f"{c.type}={c.status}" for c in (await self.job()).status.conditions]

    async def events(self, reason: str) -> list[str]:
        return [event.message for event in await self.client.list(Event, "default") if event.reason == reason]

    async def after(self, seconds: float) -> Result:
        await self.clock.advance(seconds)
        return await self.reconcile()

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.client.requests if method != "GET"]

    def in_seconds(self, seconds: float) -> Any:
        return self.clock.now() + timedelta(seconds=seconds)

"""What the job tests arrange with: a job kind of their own, and a cluster whose kubelet is the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from kfcore.api.core import Event, Pod, Service
from kfcore.api.jobs import Job, JobSpec, ReplicaSpec
from kfcore.api.meta import Manifest, rfc3339, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ServiceUnavailable
from kfcore.client.interface import ObjectList
from kfcore.controller.controller import Result
from kfcore.jobs.controller import JobController
from kfcore.jobs.metrics import JobMetrics
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import FakeClient, FakeClock, reconcile, settle


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


class Refusing:
    """A transport behind which the server fails at some requests."""

    def __init__(self, transport: Any, method: str, suffix: str) -> None:
        self.transport, self.method, self.suffix = transport, method, suffix

    async def send(self, request: Any) -> Any:
        if request.method == self.method and request.path.endswith(self.suffix):
            raise ServiceUnavailable("the server is ill")
        return await self.transport.send(request)


class Counting:
    """A transport that counts requests to create pods which are under way at once."""

    def __init__(self, transport: Any) -> None:
        self.transport, self.now, self.most = transport, 0, 0

    async def send(self, request: Any) -> Any:
        creates = request.method == "POST" and request.path.endswith("/pods")
        self.now += creates
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        try:
            return await self.transport.send(request)
        finally:
            self.now -= creates


class UpToDate:
    """A cache without delay, as far as a controller can tell: what it reads is not what it writes to."""

    def __init__(self, client: FakeClient) -> None:
        self.get, self.list, self.list_owned = client.get, client.list, client.list_owned


class Training:
    """A cluster with one job and its controller; the test plays the kubelet and owns the time."""

    def __init__(
        self,
        job: Manifest,
        *objects: Manifest,
        controller: type[JobController[Any]] = MarchJobController,
        options: OperatorOptions | None = None,
        cached: bool = False,
    ) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(*objects, job, clock=self.clock)
        self.name = job["metadata"]["name"]
        self.controller_type = controller
        self.options = options
        self.reader = UpToDate(self.client) if cached else None
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

    def restart_operator(self, metrics: JobMetrics | None = None) -> None:
        self.controller = self.controller_type(
            self.client, reader=self.reader, clock=self.clock, options=self.options, metrics=metrics
        )

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

    async def annotate(self, **annotations: str) -> None:
        """Annotations of kfcore's own, on the job."""
        body = {"metadata": {"annotations": {f"kfcore/{n.replace('_', '-')}": v for n, v in annotations.items()}}}
        await self.client.patch(untyped(self.kind.resource), self.name, "default", body)

    async def evict(self, pod: str) -> None:
        """Let the cluster take a pod away, as the kubelet reports it."""
        disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        body = {"status": {"phase": "Failed", "reason": "Evicted", "conditions": [disruption]}}
        await self.client.patch(Pod, pod, "default", body, subresource="status")

    async def set(self, *pods: str, phase: str, exit_code: int | None = None, restarts: int = 0) -> None:
        """What the kubelet would report of these pods (all, when none is named)."""
        for name in pods or await self.pods():
            state: Manifest = {"running": {}} if phase == "Running" else {"waiting": {}}
            if exit_code is not None:
                state = {"terminated": {"exitCode": exit_code, "finishedAt": rfc3339(self.clock.now())}}
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

    async def delete(self, pod: str, *, grace: int = 0) -> None:
        await self.client.delete(Pod, pod, "default", grace_period_seconds=grace)

    async def delete_service(self, name: str) -> None:
        await self.client.delete(Service, name, "default")

    async def raw_service(self, name: str) -> Manifest:
        return (await self.client.get(untyped(Service.resource), name, "default")).raw

    async def bind(self, pod: str, node: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        await self.client.subresource("POST", Pod, pod, "default", "binding", body=body)

    async def scale(self, walkers: int) -> None:
        await self.patch({"marchReplicaSpecs": {"Walker": {"replicas": walkers}}})

    async def set_image(self, image: str) -> None:
        template = {"spec": {"containers": [{"name": "march", "image": image}]}}
        await self.patch({"marchReplicaSpecs": {"Walker": {"template": template}}})

    async def recreate_job(self, job: Manifest) -> None:
        """Delete the job and create it anew, while its pods still take their time to end."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "slow"}}
        await self.client.create(untyped(Resource("", "v1", "Node", "nodes", False)), node)
        for pod in await self.pods():
            await self.bind(pod, "slow")
        await self.client.delete(self.kind, self.name, "default")
        await settle()
        await self.client.create(self.kind, job, "default")

    @contextlib.contextmanager
    def refusing(self, method: str, suffix: str) -> Iterator[None]:
        """Let the server fail at requests of a method to paths that end so."""
        transport = self.client.transport
        self.client.transport = Refusing(transport, method, suffix)  # type: ignore[assignment]
        try:
            yield
        finally:
            self.client.transport = transport

    async def most_creates_at_once(self) -> int:
        """Reconcile, and say how many requests to create pods were under way at the same time."""
        transport = self.client.transport
        counting = Counting(transport)
        self.client.transport = counting  # type: ignore[assignment]
        await self.reconcile()
        self.client.transport = transport
        return counting.most

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.client.requests if method != "GET"]

    def in_seconds(self, seconds: float) -> Any:
        return self.clock.now() + timedelta(seconds=seconds)


class Snapshot:
    """A reader that shows the cluster as it was when it last looked."""

    def __init__(self, training: Training) -> None:
        self.client, self._seen = training.client, dict[str, Any]()

    async def look(self) -> None:
        self._seen["job"] = await self.client.get(MarchJobController.kind, "march", "default")
        await self.look_at_pods()

    async def look_at_pods(self) -> None:
        self._seen |= {
            "Pod": list(await self.client.list(Pod, "default")),
            "Service": list(await self.client.list(Service, "default")),
        }

    async def get(self, kind: Any, name: str, namespace: str | None = None) -> Any:
        return self._seen["job"]

    async def list(self, kind: Any, namespace: str | None = None, **selectors: Any) -> Any:
        return ObjectList(self._seen[kind.resource.kind])

    async def list_owned(self, kind: Any, owner: Any, **selectors: Any) -> Any:
        return ObjectList(self._seen[kind.resource.kind])

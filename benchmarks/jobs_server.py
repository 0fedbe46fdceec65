"""The cluster that the figures of jobs are taken on, a process of its own: the API over HTTP, and a stub kubelet.

`python -m benchmarks.jobs_server JOBS PODS_OF_EACH STATE` prints its address, and then answers the lines of standard
input, each with one line: `counts` (JSON: requests by method, pods, when the last of them was created by
`time.monotonic`, jobs by last condition), `succeed` (end all pods).
STATE is what is there at the start: `none`, or JOBS jobs that are `Running` or `Succeeded`, with their pods.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import msgspec

from benchmarks.serve import TOKEN
from kfcore.api.codec import decode_json, encode_json
from kfcore.api.core import Pod, Service
from kfcore.api.crd import crd
from kfcore.api.meta import Manifest, untyped
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.client.rest import RestClient
from kfcore.controller.observability import configure_logging
from kfcore.plugins import load_plugins
from kfcore.testing import FakeClient, InProcessTransport, add_object, reconcile
from kfcore_pytorch import PyTorchJob, PyTorchJobController

Jobs, Pods, Services = untyped(PyTorchJob.resource), untyped(Pod.resource), untyped(Service.resource)
TEMPLATE = {"spec": {"containers": [{"name": "pytorch", "image": "python:3.11", "command": ["python", "train.py"]}]}}


JOBS = PyTorchJob.resource.qualified_plural


class _Conditions(msgspec.Struct, frozen=True):
    conditions: list[dict[str, str]] = []


class _Reported(msgspec.Struct, frozen=True):
    """All that is read of a job to count it: counting is no work of the cluster's, and must not cost as much."""

    status: _Conditions = _Conditions()


def job_state(stored: bytes) -> str:
    """The last condition of a job as the server keeps it; empty before the first."""
    conditions = msgspec.json.decode(stored, type=_Reported).status.conditions
    return conditions[-1]["type"] if conditions else ""


def job(name: str, pods: int) -> Manifest:
    """One master, and as many workers as make `pods`."""
    specs = {"Master": {"replicas": 1, "template": TEMPLATE}, "Worker": {"replicas": pods - 1, "template": TEMPLATE}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"pytorchReplicaSpecs": specs},
    }


class Counted:
    """A server's requests from outside, counted by method, and when the last pod was created."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.requests, self.last_pod = server, Counter[str](), 0.0

    async def handle(self, request: Request) -> Response:
        self.requests[request.method] += 1
        response = await self.server.handle(request)
        if request.method == "POST" and request.path.endswith("/pods"):
            self.last_pod = time.monotonic()
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)


def status(phase: str) -> Manifest:
    state = {"terminated": {"exitCode": 0}} if phase == "Succeeded" else {"running": {}}
    running = phase == "Running"
    container = {"name": "pytorch", "image": "", "imageID": "", "ready": running, "restartCount": 0, "state": state}
    return {"status": {"phase": phase, "containerStatuses": [container]}}


class StubKubelet:
    """Says that every new pod runs, as soon as it sees it; and when asked, that all have succeeded."""

    def __init__(self, client: RestClient) -> None:
        self.client = client

    async def run(self) -> None:
        async for event in self.client.watch(Pods):
            if event.type == "ADDED":
                await self._set(event.object.name, "Running")

    async def succeed(self) -> None:
        for pod in await self.client.list(Pods):
            await self._set(pod.name, "Succeeded")

    async def _set(self, pod: str, phase: str) -> None:
        await self.client.patch(Pods, pod, "default", status(phase), subresource="status")


async def fill(server: ApiServer, jobs: int, pods: int, state: str) -> None:
    """Put jobs into the server as an operator leaves them: copies of one that it has really run."""
    sample = FakeClient(job("sample", pods))
    controller = PyTorchJobController(sample)
    for phase in ["Pending", "Running", *([state] if state == "Succeeded" else [])]:
        for pod in await sample.list(Pods) if phase != "Pending" else []:
            await sample.patch(Pods, pod.name, "default", status(phase), subresource="status")
        for _ in range(3):
            await reconcile(controller, "default/sample")
    kinds = (Jobs, Pods, Services)
    manifests = [
        encode_json({"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, **found.raw})
        for kind in kinds
        for found in await sample.list(kind, "default")
    ]
    (uid,) = [found.metadata.uid for found in await sample.list(Jobs)]
    for number in range(jobs):
        for place, manifest in enumerate(manifests):
            text = manifest.replace(b"sample", f"job-{number}".encode())
            copied = decode_json(text.replace(uid.encode(), f"00000000-0000-4000-8000-{number:012}".encode()))
            if place > 0:
                copied["metadata"]["uid"] = f"00000000-0000-4000-{place:04}-{number:012}"
            copied["metadata"].pop("managedFields", None)
            copied["spec"].pop("clusterIPs", None)
            add_object(server, copied)


async def main(jobs: int, pods: int, state: str) -> None:
    configure_logging("warning", "console")
    server = ApiServer()
    for _, plugin in load_plugins().controllers:
        server.install_crd(crd(plugin.kind))
    if state != "none":
        await fill(server, jobs, pods, state)
    client = RestClient(InProcessTransport(server, record=False))
    counted, kubelet = Counted(server), StubKubelet(client)
    http = HttpServer(counted, token=TOKEN)
    await http.start()
    print(http.url, flush=True)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(kubelet.run()) if state == "none" else None
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "succeed":
                await kubelet.succeed()
            last = Counter(job_state(job.data) for job in server.storage.collection(JOBS).select())
            there = len(server.storage.collection("pods"))
            counts = {"requests": counted.requests, "pods": there, "last_pod": counted.last_pod, "jobs": last}
            print(json.dumps(counts), flush=True)
        if watching:
            watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))

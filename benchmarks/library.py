"""What an operator does most: its queue, what it keeps of a watch, and a reconcile that finds nothing to do."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.figure import Figure, best_of
from kfcore.api.core import Pod
from kfcore.cache.store import Store
from kfcore.client.rest import RestClient
from kfcore.client.transport import Request, Response
from kfcore.clock import SystemClock
from kfcore.controller.workqueue import WorkQueue
from kfcore.testing import FakeClient, FakeClock, reconcile
from kfcore_pytorch import PyTorchJob, PyTorchJobController


async def measure() -> list[Figure]:
    seconds, kept = await _watch_stream()
    return [
        Figure("reconcile of a job with 4 replicas that changes nothing", await _noop_reconcile() * 1e6, 400, "µs"),
        Figure("work queue: add, get, done", await _work_queue() * 1e6, 5, "µs"),
        Figure("decode and store a 2.7 KB Pod of a watch stream", seconds * 1e6, 10, "µs"),
        Figure("memory kept of that Pod", kept / 1024, 2.5, "KiB"),
    ]


async def _noop_reconcile() -> float:
    count = 500
    client = FakeClient(_job(workers=3), clock=FakeClock())
    controller = PyTorchJobController(client)
    for _ in range(3):  # creates, then sees what it created
        await reconcile(controller, "default/bench")
    before = len(client.requests)
    await reconcile(controller, "default/bench")
    written = [request for request in client.requests[before:] if request[0] != "GET"]
    assert not written, f"a reconcile that should change nothing sent {written}"

    async def work() -> None:
        for _ in range(count):
            await reconcile(controller, "default/bench")

    return await best_of(5, count, work)


async def _work_queue() -> float:
    count = 10_000
    queue: WorkQueue[str] = WorkQueue(SystemClock())
    keys = [f"default/job-{number}" for number in range(count)]

    async def work() -> None:
        for key in keys:
            queue.add(key)
            queue.done(await queue.get())

    return await best_of(5, count, work)


async def _watch_stream() -> tuple[float, float]:
    """Seconds for one Pod, and bytes kept of it, from the line on the wire to the store."""
    count = 5_000
    lines = [json.dumps({"type": "ADDED", "object": pod(number)}).encode() for number in range(count)]
    client = RestClient(_Recording(lines))

    async def fill() -> Store[Pod]:
        store: Store[Pod] = Store()
        async for event in client.watch(Pod):
            store.set(event.object)
        return store

    async def work() -> None:
        await fill()

    seconds = await best_of(5, count, work)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    store = await fill()
    gc.collect()
    kept = (tracemalloc.get_traced_memory()[0] - before) / len(store)
    tracemalloc.stop()
    return seconds, kept


class _Recording:
    """A transport that answers every watch with the same lines."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    async def send(self, request: Request) -> Response:
        raise ValueError(f"a recording answers watches, not {request.method} {request.path}")

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        yield Response(200, b""), self._play()

    async def _play(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line

    async def close(self) -> None:
        """Nothing to release."""


def _job(workers: int) -> PyTorchJob:
    template = {
        "spec": {"containers": [{"name": "pytorch", "image": "python:3.11", "command": ["python", "train.py"]}]}
    }
    return PyTorchJob.model_validate(
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": "bench", "namespace": "default"},
            "spec": {
                "pytorchReplicaSpecs": {
                    "Master": {"replicas": 1, "template": template},
                    "Worker": {"replicas": workers, "template": template},
                }
            },
        }
    )


def pod(number: int) -> dict[str, object]:
    """A running replica as an API server sends it, about 2.7 KB."""
    name, time = f"bench-worker-{number}", "2024-01-31T09:30:00Z"
    env = [{"name": key, "value": f"value-{number}"} for key in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")]
    mount = {"name": "kube-api-access", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"6c2f2f0e-8a4e-4b43-9a57-{number:012d}",
            "resourceVersion": str(100_000 + number),
            "creationTimestamp": time,
            "labels": {
                "training.kubeflow.org/job-name": "bench",
                "training.kubeflow.org/operator-name": "pytorchjob-controller",
                "training.kubeflow.org/replica-index": str(number),
                "training.kubeflow.org/replica-type": "worker",
            },
            "ownerReferences": [
                {
                    "apiVersion": "kubeflow.org/v1",
                    "kind": "PyTorchJob",
                    "name": "bench",
                    "uid": "0d4c7a52-9c1e-4f3b-8f6e-2b1a5c9d7e10",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": [
                {
                    "name": "pytorch",
                    "image": "registry.example.com/team/train:2024-01-31",
                    "command": ["python", "train.py", "--epochs", "20"],
                    "env": env,
                    "resources": {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"cpu": "4", "memory": "16Gi"}},
                    "ports": [{"name": "pytorchjob-port", "containerPort": 23456, "protocol": "TCP"}],
                    "volumeMounts": [mount],
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
            "volumes": [{"name": "kube-api-access", "emptyDir": {}}],
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "nodeName": "node-7",
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": type_, "status": "True", "lastProbeTime": None, "lastTransitionTime": time}
                for type_ in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": "10.0.0.7",
            "podIP": "10.4.2.19",
            "podIPs": [{"ip": "10.4.2.19"}],
            "startTime": time,
            "containerStatuses": [
                {
                    "name": "pytorch",
                    "state": {"running": {"startedAt": time}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": "registry.example.com/team/train:2024-01-31",
                    "imageID": "registry.example.com/team/train@sha256:" + "3f" * 32,
                    "containerID": "containerd://" + "9a" * 32,
                    "started": True,
                }
            ],
            "qosClass": "Guaranteed",
        },
    }

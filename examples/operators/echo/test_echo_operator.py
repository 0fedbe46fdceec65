"""The operator's tests: no cluster, no sleep. `pip install 'kfcore[testing]' -e . && pytest`"""

from echo_operator import EchoJob, EchoJobController

from kfcore import Pod
from kfcore.api.codec import load
from kfcore.testing import FakeClient, reconcile


def echo_job(workers: int) -> EchoJob:
    template = {"spec": {"containers": [{"name": "echo", "image": "busybox", "command": ["env"]}]}}
    spec = {"echoReplicaSpecs": {"Worker": {"replicas": workers, "template": template}}}
    return load(EchoJob, {"metadata": {"name": "echo", "namespace": "default"}, "spec": spec})


async def test_creates_one_pod_per_worker() -> None:
    client = FakeClient(echo_job(workers=3))
    await reconcile(EchoJobController(client), "default/echo")
    assert [p.name for p in await client.list(Pod)] == ["echo-worker-0", "echo-worker-1", "echo-worker-2"]


async def test_succeeds_when_every_worker_has() -> None:
    client = FakeClient(echo_job(workers=2))
    controller = EchoJobController(client)
    await reconcile(controller, "default/echo")
    for pod in await client.list(Pod):
        await client.patch(Pod, pod.name, pod.namespace, {"status": {"phase": "Succeeded"}}, subresource="status")
    await reconcile(controller, "default/echo")
    job = await client.get(EchoJob, "echo", "default")
    assert job.status.is_true("Succeeded")

"""What the replicas of a PyTorchJob are told of each other."""

from __future__ import annotations

from typing import Any

import pytest

from kfcore.api.core import Event, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.errors import Invalid
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import FakeClient, reconcile
from kfcore_pytorch import PyTorchJobController
from kfcore_pytorch.elastic import Autoscaler


def a_pytorch_job(workers: int, *, master: bool = True, **spec: Any) -> Manifest:
    template = {"spec": {"containers": [{"name": "pytorch", "image": "i"}]}}
    replica_specs: Manifest = {"Worker": {"replicas": workers, "template": template}}
    if master:
        replica_specs["Master"] = {"replicas": 1, "template": template}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "train", "namespace": "default"},
        "spec": {"pytorchReplicaSpecs": replica_specs, **spec},
    }


async def pod_specs(job: Manifest, options: OperatorOptions | None = None) -> dict[str, Manifest]:
    client = FakeClient(job)
    await reconcile(PyTorchJobController(client, options=options), "default/train")
    return {pod.name: pod.raw["spec"] for pod in await client.list(untyped(Pod.resource), "default")}


def environment(spec: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in spec["containers"][0]["env"]}


async def test_the_ranks_are_the_masters_and_then_the_workers() -> None:
    specs = await pod_specs(a_pytorch_job(workers=2))
    ranks = {name: environment(spec)["RANK"] for name, spec in specs.items()}
    assert ranks == {"train-master-0": "0", "train-worker-0": "1", "train-worker-1": "2"}
    worker = environment(specs["train-worker-1"])
    assert (worker["MASTER_ADDR"], worker["MASTER_PORT"], worker["WORLD_SIZE"]) == ("train-master-0", "23456", "3")


async def test_the_world_counts_the_processes_of_each_node_where_their_number_is_given() -> None:  # B23
    specs = await pod_specs(a_pytorch_job(workers=1, nprocPerNode="4"))
    assert environment(specs["train-worker-0"])["WORLD_SIZE"] == "8"


async def test_a_users_variable_of_the_same_name_gives_way() -> None:  # B24
    job = a_pytorch_job(workers=1)
    container = {
        "name": "pytorch",
        "image": "i",
        "env": [{"name": "RANK", "value": "9"}, {"name": "MINE", "value": "1"}],
    }
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"] = {"spec": {"containers": [container]}}
    variables = environment((await pod_specs(job))["train-master-0"])
    assert (variables["RANK"], variables["MINE"]) == ("0", "1")


async def test_workers_wait_for_the_master_with_the_image_that_the_operator_was_given() -> None:  # B25
    options = OperatorOptions(init_container_image="registry.example/wait:1", init_container_max_tries=7)
    specs = await pod_specs(a_pytorch_job(workers=1), options)
    assert "initContainers" not in specs["train-master-0"]
    [init] = specs["train-worker-0"]["initContainers"]
    assert init["image"] == "registry.example/wait:1"
    assert "seq 7" in init["command"][2]
    assert init["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("changed", [{"metrics": None}, None], ids=["no metrics", "not elastic"])
async def test_an_elastic_job_with_metrics_has_an_autoscaler_until_it_asks_for_none(changed: Any) -> None:  # B36
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    ]
    policy = {"minReplicas": 1, "maxReplicas": 4, "metrics": metrics}
    client = FakeClient(a_pytorch_job(workers=2, master=False, elasticPolicy=policy))
    controller = PyTorchJobController(client)
    await reconcile(controller, "default/train")
    [scaler] = await client.list(Autoscaler, "default")
    assert (scaler.raw["spec"]["minReplicas"], scaler.raw["spec"]["maxReplicas"]) == (1, 4)
    [pod, _] = await client.list(untyped(Pod.resource), "default")
    assert environment(pod.raw["spec"])["PET_NNODES"] == "1:4"
    patch = {"spec": {"elasticPolicy": changed}}
    await client.patch(untyped(controller.kind.resource), "train", "default", patch)
    await reconcile(controller, "default/train")
    assert await client.list(Autoscaler, "default") == []


async def test_an_autoscaler_whose_metrics_the_server_fills_in_is_left_as_it_is() -> None:
    client = FakeClient(a_pytorch_job(workers=2, master=False, elasticPolicy={"maxReplicas": 4, "metrics": []}))
    controller = PyTorchJobController(client)
    await reconcile(controller, "default/train")
    [scaler] = await client.list(Autoscaler, "default")
    assert scaler.raw["spec"]["metrics"][0]["resource"]["name"] == "cpu"
    client.requests.clear()
    await reconcile(controller, "default/train")
    assert [method for method, path in client.requests if "autoscal" in path] == ["GET"]


async def test_metrics_that_the_server_refuses_are_named_in_an_event_of_the_job() -> None:
    policy = {"maxReplicas": 4, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "x"}}}]}
    client = FakeClient(a_pytorch_job(workers=2, master=False, elasticPolicy=policy))
    controller = PyTorchJobController(client)
    with pytest.raises(Invalid):
        await reconcile(controller, "default/train")
    await controller.recorder.flush()
    [event] = await client.list(Event, "default")
    assert (event.type, event.reason) == ("Warning", "FailedAutoscaler")
    assert "spec.metrics[0]" in event.message

"""The `kubeflow-training` SDK, as its users have it, drives jobs of both kinds on this machine: real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from patience import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("kubeflow") is None, reason="needs kubeflow-training: pip install '.[dev]'"),
]

KFCORE = str(Path(sys.executable).with_name("kfcore"))


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("sdk") / "kubeconfig"
    with subprocess.Popen([KFCORE, "local", "up", "--kubeconfig", str(path)], stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert any(line.startswith("Ctrl-C") for line in up.stdout), "it has ended"
        rest = threading.Thread(target=up.stdout.read)  # who is not read cannot go on printing
        rest.start()
        yield str(path)
        up.send_signal(signal.SIGINT)
        rest.join()


@pytest.fixture
def client(kubeconfig: str) -> Any:
    from kubeflow.training import TrainingClient

    return TrainingClient(config_file=kubeconfig, namespace="default")


def a_job(kind: str, name: str, script: str, **types: int) -> Any:
    """A job of the SDK's own models, whose replicas run a shell script."""
    from kubeflow.training import models
    from kubernetes import client as kubernetes

    container_name = {"PyTorchJob": "pytorch", "TFJob": "tensorflow"}[kind]
    container = kubernetes.V1Container(name=container_name, image="busybox", command=["sh", "-c", script])
    pod = kubernetes.V1PodTemplateSpec(spec=kubernetes.V1PodSpec(containers=[container]))
    specs = {
        replica_type: models.KubeflowOrgV1ReplicaSpec(replicas=count, restart_policy="Never", template=pod)
        for replica_type, count in types.items()
    }
    policy = models.KubeflowOrgV1RunPolicy(clean_pod_policy="None")
    metadata = kubernetes.V1ObjectMeta(name=name, namespace="default")
    common = {"api_version": "kubeflow.org/v1", "kind": kind, "metadata": metadata}
    if kind == "TFJob":
        return models.KubeflowOrgV1TFJob(
            **common, spec=models.KubeflowOrgV1TFJobSpec(run_policy=policy, tf_replica_specs=specs)
        )
    return models.KubeflowOrgV1PyTorchJob(
        **common, spec=models.KubeflowOrgV1PyTorchJobSpec(run_policy=policy, pytorch_replica_specs=specs)
    )


@pytest.mark.parametrize(
    ("kind", "chief", "variable"), [("PyTorchJob", "Master", "$RANK/$WORLD_SIZE"), ("TFJob", "Chief", "$TF_CONFIG")]
)
def test_a_job_of_objects_is_created_followed_read_and_deleted(
    client: Any, kind: str, chief: str, variable: str
) -> None:
    name = f"objects-{kind.lower()}"
    job = a_job(kind, name, f'echo "I am {variable}"; sleep 1', **{chief: 1, "Worker": 1})
    client.create_job(job)
    client.wait_for_job_conditions(
        name, job_kind=kind, expected_conditions={"Created"}, wait_timeout=240, polling_interval=1
    )
    assert client.is_job_created(name, job_kind=kind)
    running = client.wait_for_job_conditions(
        name, job_kind=kind, expected_conditions={"Running", "Succeeded"}, wait_timeout=240, polling_interval=1
    )
    assert running.metadata.name == name
    logs, _ = client.get_job_logs(name, job_kind=kind, is_master=False)
    assert set(logs) <= {f"{name}-{chief.lower()}-0", f"{name}-worker-0"}
    client.wait_for_job_conditions(name, job_kind=kind, wait_timeout=240, polling_interval=1)
    assert client.is_job_succeeded(name, job_kind=kind)
    assert not client.is_job_running(name, job_kind=kind)
    assert not client.is_job_restarting(name, job_kind=kind)
    assert not client.is_job_failed(name, job_kind=kind)
    assert sorted(client.get_job_pod_names(name)) == [f"{name}-{chief.lower()}-0", f"{name}-worker-0"]
    assert client.get_job_pod_names(name, is_master=True) == [f"{name}-{chief.lower()}-0"]
    logs, _ = client.get_job_logs(name, job_kind=kind)
    assert [text.split()[0] for text in logs.values()] == ["I"]
    assert name in {found.metadata.name for found in client.list_jobs(job_kind=kind)}
    client.delete_job(name, job_kind=kind)
    wait_until_gone(client, name, kind)


def test_a_function_is_run_by_every_replica_and_its_log_is_followed(client: Any, capfd: Any) -> None:
    def train(parameters):  # type: ignore[no-untyped-def]  # its source is sent as it stands here, without imports
        import os
        import time

        for epoch in range(int(parameters["epochs"])):
            print(f"epoch {epoch} of rank {os.environ['RANK']} in {os.environ['WORLD_SIZE']}", flush=True)
            time.sleep(0.3)

    client.create_job(
        name="function",
        job_kind="PyTorchJob",
        train_func=train,
        parameters={"epochs": 3},
        num_workers=2,
        num_procs_per_worker=1,
        base_image="python:3",
    )
    client.wait_for_job_conditions(
        "function", job_kind="PyTorchJob", expected_conditions={"Running", "Succeeded"}, wait_timeout=240,
        polling_interval=1,
    )  # fmt: skip
    logs, _ = client.get_job_logs("function", job_kind="PyTorchJob", follow=True)
    followed = capfd.readouterr().out + "".join(logs.values())
    assert "epoch 2 of rank 0 in 2" in followed
    client.wait_for_job_conditions("function", job_kind="PyTorchJob", wait_timeout=240, polling_interval=1)
    client.delete_job("function", job_kind="PyTorchJob")


def test_a_job_is_updated(client: Any) -> None:
    client.create_job(a_job("PyTorchJob", "updated", "sleep 3600", Worker=1))
    client.wait_for_job_conditions(
        "updated", job_kind="PyTorchJob", expected_conditions={"Running"}, wait_timeout=240, polling_interval=1
    )
    job = client.get_job("updated", job_kind="PyTorchJob")
    job.spec.pytorch_replica_specs["Worker"].replicas = 2
    client.update_job(job, "updated", job_kind="PyTorchJob")
    wait_until(lambda: len(client.get_job_pod_names("updated")) == 2, "the second pod")
    client.delete_job("updated", job_kind="PyTorchJob")
    wait_until_gone(client, "updated", "PyTorchJob")


def test_waiting_for_a_job_that_fails_raises_what_the_sdk_promises(client: Any) -> None:
    client.create_job(a_job("TFJob", "fails", "exit 3", Worker=1))
    with pytest.raises(RuntimeError, match="fails"):
        client.wait_for_job_conditions("fails", job_kind="TFJob", wait_timeout=240, polling_interval=1)
    assert client.is_job_failed("fails", job_kind="TFJob")
    client.delete_job("fails", job_kind="TFJob")


def test_a_job_that_cannot_run_is_refused_when_it_is_created(client: Any) -> None:
    job = a_job("PyTorchJob", "refused", "true", Worker=1)
    job.spec.run_policy.managed_by = "somebody"
    with pytest.raises(RuntimeError):
        client.create_job(job)


def wait_until_gone(client: Any, name: str, kind: str) -> None:
    wait_until(
        lambda: name not in {found.metadata.name for found in client.list_jobs(job_kind=kind)}, f"the end of {name}"
    )

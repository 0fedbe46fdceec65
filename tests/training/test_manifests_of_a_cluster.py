"""Manifests as users have them for a cluster are taken as they are; what cannot run on this machine says why on the
job, where `kubectl describe` shows it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from kfcore.api.core import Event
from kfcore.api.jobs import Job
from kfcore.api.meta import Manifest, untyped
from kfcore_jax import JAXJob
from kfcore_local.cluster import LocalCluster
from kfcore_pytorch import PyTorchJob
from kfcore_tf import TFJob

IMAGE = "docker.io/example/mnist:v1"


def a_pytorch_job() -> Manifest:
    container = {"name": "pytorch", "image": IMAGE, "imagePullPolicy": "Always", "args": ["--backend", "gloo"]}
    replicas = {"replicas": 1, "restartPolicy": "OnFailure", "template": {"spec": {"containers": [container]}}}
    return {"pytorchReplicaSpecs": {"Master": replicas, "Worker": replicas}}


def a_tfjob_with_a_claim() -> Manifest:
    container = {
        "name": "tensorflow",
        "image": IMAGE,
        "command": ["python", "/var/tf_mnist/mnist_with_summaries.py", "--log_dir=/train/logs"],
        "volumeMounts": [{"mountPath": "/train", "name": "training"}],
    }
    volume = {"name": "training", "persistentVolumeClaim": {"claimName": "tfevent-volume"}}
    pod = {
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {"containers": [container], "volumes": [volume]},
    }
    specs = {"Worker": {"replicas": 2, "restartPolicy": "OnFailure", "template": pod}}
    return {"runPolicy": {"cleanPodPolicy": "None"}, "tfReplicaSpecs": specs}


def a_jaxjob_for_gpus() -> Manifest:
    resources = {"limits": {"nvidia.com/gpu": 64}}
    container = {"name": "jax", "image": IMAGE, "command": ["python", "train.py"], "resources": resources}
    template = {"spec": {"containers": [container]}}
    return {"jaxReplicaSpecs": {"Worker": {"replicas": 2, "restartPolicy": "OnFailure", "template": template}}}


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        (PyTorchJob, a_pytorch_job(), f"gives no command: kfcore local runs commands on this machine.*{IMAGE}"),
        (TFJob, a_tfjob_with_a_claim(), 'persistentvolumeclaim "tfevent-volume" not found'),
        (JAXJob, a_jaxjob_for_gpus(), r"Insufficient nvidia\.com/gpu"),
    ],
    ids=["no command", "no volume", "no GPUs"],
)
async def test_a_job_of_a_cluster_is_taken_and_says_why_it_cannot_run_here(
    kind: type[Job[Any]], spec: Manifest, why: str
) -> None:
    job = {"apiVersion": "kubeflow.org/v1", "kind": kind.resource.kind, "metadata": {"name": "mnist"}, "spec": spec}
    async with LocalCluster() as cluster, asyncio.timeout(240):
        await cluster.client.apply(untyped(kind.resource), job, "default", field_manager="kubectl")
        while not (said := await warnings_of_the_job(cluster)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert re.search(why, "\n".join(said)), said


async def warnings_of_the_job(cluster: LocalCluster) -> list[str]:
    return [
        event.message
        for event in await cluster.client.list(Event, "default")
        if event.type == "Warning" and event.involved_object.kind.endswith("Job")
    ]

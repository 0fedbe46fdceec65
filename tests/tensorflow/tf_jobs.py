"""What the TFJob tests arrange with."""

from __future__ import annotations

import json
from typing import Any

from training import Training

from kfcore.api.meta import Manifest
from kfcore_tf import TFJobController


def replicas(number: int | None = 1, *, restart_policy: str = "Never", port: int | None = None) -> Manifest:
    """The spec of one replica type."""
    container: Manifest = {"name": "tensorflow", "image": "i"}
    if port is not None:
        container["ports"] = [{"name": "tfjob-port", "containerPort": port}]
    spec: Manifest = {"restartPolicy": restart_policy, "template": {"spec": {"containers": [container]}}}
    return spec if number is None else {"replicas": number, **spec}


def a_tf_job(
    annotations: dict[str, str] | None = None, spec: Manifest | None = None, **types: Manifest | int
) -> Manifest:
    """A TFJob with the replica types that are named: `a_tf_job(Chief=1, Worker=replicas(2))`."""
    specs = {name: replicas(value) if isinstance(value, int) else value for name, value in types.items()}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": "tf", "namespace": "default", "annotations": annotations or {}},
        "spec": {"tfReplicaSpecs": specs, **(spec or {})},
    }


def tf_training(job: Manifest) -> Training:
    return Training(job, controller=TFJobController)


async def tf_configs(job: Manifest) -> dict[str, Any]:
    """TF_CONFIG as every pod of the job gets it, by the pod's name; None where it gets none."""
    training = tf_training(job)
    await training.reconcile()
    found = {}
    for name, spec in (await training.pod_specs()).items():
        variables = {v["name"]: v["value"] for c in spec["containers"] for v in c.get("env", [])}
        found[name] = json.loads(variables["TF_CONFIG"]) if "TF_CONFIG" in variables else None
    return found

"""Names and labels of what a job owns. They derive from job, replica type and index, so that a repeated create meets
what the first one made.
"""

from __future__ import annotations

from collections.abc import Mapping

from kfcore.api.meta import Object

JOB_NAME = "training.kubeflow.org/job-name"
REPLICA_TYPE = "training.kubeflow.org/replica-type"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
OPERATOR_NAME = "training.kubeflow.org/operator-name"
JOB_ROLE = "training.kubeflow.org/job-role"

MAX_NAME = 63
"""What a pod's host name and a service's name may have."""


def replica_name(job_name: str, replica_type: str, index: int) -> str:
    """`<job>-<type>-<index>`: the name of a replica's pod, and of its service."""
    return f"{job_name}-{replica_type.lower()}-{index}".replace("/", "-")


def job_labels(job_name: str, operator: str) -> dict[str, str]:
    """The labels that everything a job owns carries."""
    return {JOB_NAME: job_name, OPERATOR_NAME: operator}


def replica_labels(job_name: str, operator: str, replica_type: str, index: int) -> dict[str, str]:
    """The labels of one replica's pod and service."""
    return {
        **job_labels(job_name, operator),
        REPLICA_TYPE: replica_type.lower(),
        REPLICA_INDEX: str(index),
    }


def index_of(labels: Mapping[str, str]) -> int | None:
    """The replica index in an object's labels; None where there is none that makes sense."""
    value = labels.get(REPLICA_INDEX, "")
    return int(value) if value.isascii() and value.isdigit() else None


def of_type(obj: Object, replica_type: str) -> bool:
    return obj.metadata.labels.get(REPLICA_TYPE) == replica_type.lower()

"""TF_CONFIG: what TensorFlow reads of its cluster and of its own part in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kfcore_tf.api import TFJob

Endpoints = Mapping[str, Sequence[str]]
"""`host:port` of every replica, by replica type in lower case."""


def is_local(job: TFJob) -> bool:
    """Whether the job is a single replica, which TensorFlow runs best when it is told of no cluster."""
    return sum(1 if spec.replicas is None else spec.replicas for spec in job.spec.replica_specs.values()) == 1


def tf_config(cluster: Endpoints, task: str, index: int) -> str:
    """The cluster in full: every type, the evaluator included, in alphabetical order."""
    every = {name: list(cluster[name]) for name in sorted(cluster)}
    return _compact({"cluster": every, "task": {"type": task, "index": index}, "environment": "cloud"})


def sparse_tf_config(cluster: Endpoints, task: str, index: int) -> str:
    """The cluster as one replica of a job with dynamic workers needs it, so that none knows how many workers there are.

    A worker knows itself and the parameter servers, a parameter server itself, anyone else the chief and the servers.
    """
    servers = cluster.get("ps")
    match task:
        case "worker":
            seen: dict[str, Any] = {"worker": {str(index): cluster["worker"][index]}, "ps": servers}
        case "ps":
            seen = {"worker": {}, "ps": [cluster["ps"][index]]}
        case _:
            chiefs = {name: cluster[name] for name in ("chief", "master") if name in cluster}
            seen = {"worker": {}, "ps": servers or [], **chiefs}
    return _compact({"cluster": seen, "task": {"type": task, "index": index}})


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))

"""kfcore: controller-runtime for Python. The names that an operator's author needs; each is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfcore.api.core import Event, Pod, Service
    from kfcore.api.jobs import Job, JobSpec, JobStatus, ReplicaSpec, RunPolicy
    from kfcore.api.meta import CustomResource, Model
    from kfcore.api.pod_template import PodTemplate
    from kfcore.client.cluster import ClusterClient
    from kfcore.client.interface import Client, Reader
    from kfcore.controller.controller import Reconciler, Request, Result
    from kfcore.controller.manager import Manager
    from kfcore.jobs.controller import JobController
    from kfcore.jobs.replicas import Replicas
    from kfcore.jobs.status import StatusUpdate

_MODULES = {
    "kfcore.api.core": ("Event", "Pod", "Service"),
    "kfcore.api.jobs": ("Job", "JobSpec", "JobStatus", "ReplicaSpec", "RunPolicy"),
    "kfcore.api.meta": ("CustomResource", "Model"),
    "kfcore.api.pod_template": ("PodTemplate",),
    "kfcore.client.cluster": ("ClusterClient",),
    "kfcore.client.interface": ("Client", "Reader"),
    "kfcore.controller.controller": ("Reconciler", "Request", "Result"),
    "kfcore.controller.manager": ("Manager",),
    "kfcore.jobs.controller": ("JobController",),
    "kfcore.jobs.replicas": ("Replicas",),
    "kfcore.jobs.status": ("StatusUpdate",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Client",
    "ClusterClient",
    "CustomResource",
    "Event",
    "Job",
    "JobController",
    "JobSpec",
    "JobStatus",
    "Manager",
    "Model",
    "Pod",
    "PodTemplate",
    "Reader",
    "Reconciler",
    "ReplicaSpec",
    "Replicas",
    "Request",
    "Result",
    "RunPolicy",
    "Service",
    "StatusUpdate",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name's module on first use, so that `import kfcore` costs nothing (PEP 562)."""
        if name not in _HOME:
            raise AttributeError(f"module 'kfcore' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)

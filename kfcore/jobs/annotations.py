"""What a job may ask for by an annotation: behaviour that the API of kubeflow.org/v1 has no field for."""

from __future__ import annotations

from kfcore.api.meta import Object

RESTART_SCOPE = "kfcore/restart-scope"
"""`Job`: when one replica is created again, all are, succeeded ones included; it counts as one restart."""
IGNORE_DISRUPTIONS = "kfcore/ignore-disruptions"
"""`true`: a pod that the cluster took away (condition DisruptionTarget) is created again, whatever its restart policy,
and does not count as a restart."""


def restarts_together(job: Object) -> bool:
    return job.metadata.annotations.get(RESTART_SCOPE, "").lower() == "job"


def ignores_disruptions(job: Object) -> bool:
    return job.metadata.annotations.get(IGNORE_DISRUPTIONS) == "true"

"""The controllers that every cluster has and one machine needs too: Deployments, ReplicaSets, StatefulSets, DaemonSets,
Jobs, CronJobs, the endpoints of services, and the state of disruption budgets. A manager comes in;
`add_workload_controllers` gives it one controller a kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfcore.controller.handlers import enqueue_mapped
from kfcore_local.scheduling.kinds import SchedulableNode
from kfcore_local.workloads.cronjob import CronJobReconciler
from kfcore_local.workloads.daemonset import DaemonSetReconciler
from kfcore_local.workloads.deployment import DeploymentReconciler
from kfcore_local.workloads.disruption import DisruptionReconciler, enqueue_budgets, enqueue_budgets_of_owner
from kfcore_local.workloads.endpoints import EndpointsReconciler
from kfcore_local.workloads.job import JobReconciler
from kfcore_local.workloads.kinds import (
    BatchJob,
    ControllerRevision,
    CronJob,
    DaemonSet,
    Deployment,
    EndpointSlice,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    Service,
    StatefulSet,
)
from kfcore_local.workloads.replicaset import ReplicaSetReconciler
from kfcore_local.workloads.selector_index import SelectorIndex
from kfcore_local.workloads.sources import enqueue_adopters, enqueue_daemon_sets, enqueue_waiting_deployment
from kfcore_local.workloads.statefulset import StatefulSetReconciler

if TYPE_CHECKING:
    from kfcore.controller.manager import Manager

__all__ = ["add_workload_controllers"]


def add_workload_controllers(manager: Manager) -> None:
    """Let `manager` run the workload controllers."""
    client, cache, clock = manager.client, manager.cache, manager.clock
    manager.add_controller(
        ReplicaSetReconciler(client, cache, manager.recorder("replicaset-controller"), clock),
        ReplicaSet,
        owns=[Pod],
        watches=[(Pod, enqueue_adopters(cache, ReplicaSet))],
        name="replicaset",
    )
    manager.add_controller(
        DeploymentReconciler(client, cache, manager.recorder("deployment-controller"), clock),
        Deployment,
        owns=[ReplicaSet],
        watches=[(Pod, enqueue_waiting_deployment(cache))],
        name="deployment",
    )
    manager.add_controller(
        StatefulSetReconciler(client, cache, manager.recorder("statefulset-controller"), clock),
        StatefulSet,
        owns=[Pod, ControllerRevision],
        watches=[(Pod, enqueue_adopters(cache, StatefulSet))],
        name="statefulset",
    )
    manager.add_controller(
        JobReconciler(client, cache, manager.recorder("job-controller"), clock),
        BatchJob,
        owns=[Pod],
        name="job",
    )
    manager.add_controller(
        CronJobReconciler(client, cache, manager.recorder("cronjob-controller"), clock),
        CronJob,
        owns=[BatchJob],
        name="cronjob",
    )
    manager.add_controller(
        DaemonSetReconciler(client, cache, manager.recorder("daemonset-controller"), clock),
        DaemonSet,
        owns=[Pod, ControllerRevision],
        watches=[(SchedulableNode, enqueue_daemon_sets(cache))],
        name="daemonset",
    )
    index = SelectorIndex(cache)
    manager.add_controller(
        EndpointsReconciler(client, cache, index),
        Service,
        owns=[EndpointSlice],
        watches=[(Pod, enqueue_mapped(index.services_of))],
        name="endpoints",
    )
    of_owner = enqueue_mapped(enqueue_budgets_of_owner(cache))
    manager.add_controller(
        DisruptionReconciler(client, cache, clock),
        PodDisruptionBudget,
        watches=[
            (Pod, enqueue_mapped(enqueue_budgets(cache))),
            *((kind, of_owner) for kind in (Deployment, ReplicaSet, StatefulSet)),
        ],
        name="disruption",
    )

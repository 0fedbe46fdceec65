"""Changes that concern a workload without an owner reference saying so: a pod to adopt, and an old pod that is gone."""

from __future__ import annotations

from collections.abc import Iterable

from kfcore.api.meta import controller_of
from kfcore.cache.cache import Cache
from kfcore.cache.informer import Change
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Request
from kfcore.controller.handlers import Handler
from kfcore_local.scheduling.kinds import SchedulableNode
from kfcore_local.workloads.kinds import DaemonSet, Deployment, Pod, ReplicaSet, StatefulSet
from kfcore_local.workloads.pods import is_finished


def enqueue_adopters(cache: Cache, kind: type[ReplicaSet] | type[StatefulSet]) -> Handler:
    """A pod that nobody controls → those of `kind` that select it."""
    store = cache.informer(kind).store

    def handler(change: Change[Pod]) -> Iterable[Request]:
        pod = change.object
        if change.new is None or controller_of(pod) is not None:
            return
        for owner in store.list(pod.namespace):
            selector = LabelSelector.from_spec(owner.spec.selector)
            if selector and selector.matches(pod.metadata.labels):
                yield Request.of(owner)

    return handler


def enqueue_waiting_deployment(cache: Cache) -> Handler:
    """A pod that has come to its end → the Deployment that recreates, and waits for exactly this."""
    sets, deployments = cache.informer(ReplicaSet).store, cache.informer(Deployment).store

    def handler(change: Change[Pod]) -> Iterable[Request]:
        pod = change.object
        if change.new is not None and not is_finished(pod):
            return
        reference = controller_of(pod)
        owner = sets.get(pod.namespace, reference.name) if reference and reference.kind == "ReplicaSet" else None
        reference = controller_of(owner) if owner else None
        deployment = deployments.get(pod.namespace, reference.name) if reference else None
        if deployment is not None and deployment.spec.strategy.type == "Recreate":
            yield Request.of(deployment)

    return handler


def enqueue_daemon_sets(cache: Cache) -> Handler:
    """A node that came, went or changed what it takes → every DaemonSet."""
    store = cache.informer(DaemonSet).store

    def handler(change: Change[SchedulableNode]) -> Iterable[Request]:
        old, new = change.old, change.new
        if old is not None and new is not None and _offer(old) == _offer(new):
            return
        for daemon_set in store.list():
            yield Request.of(daemon_set)

    return handler


def _offer(node: SchedulableNode) -> object:
    return node.spec, node.metadata.labels, node.is_ready

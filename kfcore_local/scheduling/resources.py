"""What pods request, and what is left of each node: the scheduler's ledger, with what it has just promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Self

import msgspec

from kfcore.api.quantity import parse_quantity
from kfcore_local.scheduling.kinds import Quantities, SchedulableNode, SchedulablePod
from kfcore_local.scheduling.terms import AWAY_FROM, Term, required

Amounts = dict[str, Decimal]
NOTHING = Decimal(0)


@lru_cache(maxsize=4096)
def amount(quantity: str | int | float) -> Decimal:
    """A quantity as a number; one that is none counts as nothing (the API server has refused it)."""
    try:
        return parse_quantity(quantity)
    except ValueError:
        return NOTHING


def requests_of(pod: SchedulablePod) -> Amounts:
    """What a pod takes of a node: its containers and sidecars together, or an init container that asks for more, with
    the sidecars that run before it. kube-scheduler counts an init container for as long as the pod is there; here one
    that is done with has given its share back, so that a small machine takes more pods.
    """
    total: Amounts = {"pods": Decimal(1)}
    for container in pod.spec.containers:
        _add(total, container.resources.requests)
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in pod.spec.init_containers:
        if container.restart_policy == "Always":
            _add(sidecars, container.resources.requests)
            needed = dict(sidecars)
        elif pod.is_initialized:
            continue
        else:
            needed = dict(sidecars)
            _add(needed, container.resources.requests)
        for resource, wanted in needed.items():
            most[resource] = max(most.get(resource, NOTHING), wanted)
    for resource, wanted in sidecars.items():
        total[resource] = total.get(resource, NOTHING) + wanted
    for resource, wanted in most.items():
        total[resource] = max(total.get(resource, NOTHING), wanted)
    _add(total, pod.spec.overhead)
    return total


def _add(total: Amounts, quantities: Quantities) -> None:
    for resource, quantity in quantities.items():
        total[resource] = total.get(resource, NOTHING) + amount(quantity)


def lacking(requests: Mapping[str, Decimal], node: SchedulableNode, used: Mapping[str, Decimal]) -> list[str]:
    """The resources of which the node has not enough left."""
    allocatable = node.status.allocatable
    return [
        resource
        for resource, wanted in requests.items()
        if wanted and wanted > amount(allocatable.get(resource, 0)) - used.get(resource, NOTHING)
    ]


class Placed(msgspec.Struct, frozen=True):
    """A pod on a node, or about to be there. `repels` are the pods that it wants to be far from."""

    pod: SchedulablePod
    node: str
    requests: Amounts
    repels: tuple[Term, ...] = ()

    @classmethod
    def of(cls, pod: SchedulablePod, node: str) -> Self:
        return cls(pod, node, requests_of(pod), required(pod, AWAY_FROM))


class Ledger:
    """Who is where, and what each node gives away by that."""

    def __init__(self) -> None:
        self._placed: dict[str, Placed] = {}
        self._repelling: set[str] = set()
        self._used: dict[str, Amounts] = {}

    def __contains__(self, pod: SchedulablePod) -> bool:
        return pod.metadata.uid in self._placed

    def place(self, pod: SchedulablePod, node: str) -> bool:
        """Whether it takes something else than before, or is another one for those that look at its labels."""
        uid, placed = pod.metadata.uid, Placed.of(pod, node)
        before = self._placed.get(uid)
        self.remove(pod)
        self._placed[uid] = placed
        if placed.repels:
            self._repelling.add(uid)
        add_to(self._used.setdefault(node, {}), placed.requests)
        return before is not None and (
            before.requests != placed.requests or before.pod.metadata.labels != pod.metadata.labels
        )

    def remove(self, pod: SchedulablePod) -> bool:
        """Whether it was there."""
        placed = self._placed.pop(pod.metadata.uid, None)
        self._repelling.discard(pod.metadata.uid)
        if placed is not None:
            add_to(self._used[placed.node], placed.requests, -1)
        return placed is not None

    def all(self) -> list[Placed]:
        return list(self._placed.values())

    @property
    def anybody_repels(self) -> bool:
        return bool(self._repelling)

    def on(self, node: str) -> list[Placed]:
        return [placed for placed in self._placed.values() if placed.node == node]

    def used(self, node: str, without: Iterable[Placed] = ()) -> Amounts:
        """What is taken of the node, or would be without some pods; the caller's to change."""
        used = dict(self._used.get(node, {}))
        for placed in without:
            add_to(used, placed.requests, -1)
        return used


def add_to(used: Amounts, requests: Mapping[str, Decimal], times: int = 1) -> None:
    for resource, wanted in requests.items():
        used[resource] = used.get(resource, NOTHING) + times * wanted

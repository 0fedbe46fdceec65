"""What keeps a pod from a node because of the pods that are there already: ports of the machine, those that want to be
near each other or apart, and an even spread. Pure; the words are kube-scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod
from kfcore_local.scheduling.others import Others
from kfcore_local.scheduling.spread import Spread
from kfcore_local.scheduling.terms import AWAY_FROM, NEAR, required

NO_PORTS = "node(s) didn't have free ports for the requested pod ports"
NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_AWAY = "node(s) didn't match pod anti-affinity rules"
UNWANTED = "node(s) didn't satisfy existing pods anti-affinity rules"

HostPort = tuple[str, str, int]
Domain = tuple[str, str]
"""A node label and its value: what nodes that have it share."""


class PodRules:
    """Those of one pod that looks for a place, among others as they are now."""

    def __init__(self, pod: SchedulablePod, others: Others) -> None:
        self._pod, self._others = pod, others
        self._ports = list(host_ports(pod))
        self._near, self._away = required(pod, NEAR), required(pod, AWAY_FROM)
        self._spread = Spread(pod, others)
        self._has_wanted: set[Domain] = set()
        self._has_avoided: set[Domain] = set()
        self._is_unwanted: set[Domain] = set()
        if self._near or self._away or others.anybody_repels:
            self._look()

    def _look(self) -> None:
        known = self._others.namespace_labels
        for placed in self._others.placed:
            labels = self._others.labels_under(placed)
            if self._near and all(term.means(placed.pod, known) for term in self._near):
                self._has_wanted.update(_domains(labels, [term.topology_key for term in self._near]))
            avoided = [term.topology_key for term in self._away if term.means(placed.pod, known)]
            self._has_avoided.update(_domains(labels, avoided))
            repelled = [term.topology_key for term in placed.repels if term.means(self._pod, known)]
            self._is_unwanted.update(_domains(labels, repelled))

    def port_is_taken(self, node: SchedulableNode) -> bool:
        return bool(self._ports) and any(
            _collide(wanted, taken)
            for placed in self._others.placed
            if placed.node == node.name
            for taken in host_ports(placed.pod)
            for wanted in self._ports
        )

    def broken_on(self, node: SchedulableNode) -> tuple[str, bool] | None:
        """Why not there, and whether it could be there without some of the others; None when it can be."""
        if why := self._spread.refusal(node):
            return why
        labels = node.metadata.labels
        if not self._is_near_enough(labels):
            return NOT_NEAR, False
        if any((term.topology_key, labels.get(term.topology_key)) in self._has_avoided for term in self._away):
            return NOT_AWAY, True
        if not self._is_unwanted.isdisjoint(labels.items()):
            return UNWANTED, True
        return None

    def _is_near_enough(self, labels: dict[str, str]) -> bool:
        """The first of pods that want to be near each other has nobody to be near to."""
        if any(term.topology_key not in labels for term in self._near):
            return False
        if all((term.topology_key, labels[term.topology_key]) in self._has_wanted for term in self._near):
            return True
        known = self._others.namespace_labels
        return not self._has_wanted and all(term.means(self._pod, known) for term in self._near)


class _NoRules(PodRules):
    """Of a pod that does not mind others and is minded by none."""

    def __init__(self) -> None:
        """Nothing to look at."""

    def port_is_taken(self, node: SchedulableNode) -> bool:
        return False

    def broken_on(self, node: SchedulableNode) -> None:
        return None


_NONE = _NoRules()


def rules_of(pod: SchedulablePod, others: Others) -> PodRules:
    return PodRules(pod, others) if others.anybody_repels or minds_others(pod) or any(host_ports(pod)) else _NONE


def minds_others(pod: SchedulablePod) -> bool:
    """Whether it may find a place when another one has found one."""
    return bool(pod.spec.topology_spread_constraints or pod.spec.affinity.get(NEAR) or pod.spec.affinity.get(AWAY_FROM))


def host_ports(pod: SchedulablePod) -> Iterator[HostPort]:
    """The ports of the machine that it asks for. Those that the API server gives a pod of the machine's network, all
    that it has, are not counted: replicas of one job have the same, and here each has an address of its own.
    """
    if pod.spec.host_network:
        return
    sidecars = (container for container in pod.spec.init_containers if container.restart_policy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            if port.host_port:
                yield port.host_ip or "0.0.0.0", port.protocol, port.host_port


def _collide(one: HostPort, other: HostPort) -> bool:
    addresses = {one[0], other[0]}
    return one[1:] == other[1:] and (len(addresses) == 1 or "0.0.0.0" in addresses)


def _domains(labels: Mapping[str, str], keys: Iterable[str]) -> Iterator[Domain]:
    return ((key, labels[key]) for key in keys if key in labels)

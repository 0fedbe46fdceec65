"""What keeps a pod from working, as an event on its job: a container that waits for a reason, or ended badly,
or a pod that no node takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kfcore.api.core import Pod
from kfcore.jobs.replicas import terminating

Trouble = tuple[str, str]
"""Reason and message of a Warning event."""


class Troubles:
    """What is known to trouble the pods of each job, by its key: so it is told once, not with each reconcile."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[Trouble]] = {}

    def news(self, key: str, pods: Iterable[Pod]) -> list[Trouble]:
        """The troubles that the job's pods did not have at the last look, in order."""
        troubles, known = troubles_of(pods), self._known.get(key)
        if not troubles and known is None:
            return []
        self._known[key] = troubles
        return sorted(troubles - (known or frozenset()))

    def forget(self, key: str) -> None:
        self._known.pop(key, None)


def troubles_of(pods: Iterable[Pod]) -> frozenset[Trouble]:
    """The troubles of the pods that are still to work; none in the usual case."""
    return frozenset(
        trouble
        for pod in pods
        if pod.status.phase not in ("Succeeded", "Failed") and not terminating(pod)
        for trouble in _troubles(pod)
    )


def _troubles(pod: Pod) -> Iterator[Trouble]:
    status = pod.status
    statuses = status.container_statuses or status.init_container_statuses
    if not statuses and status.conditions and (newest := status.conditions[-1]).message and newest.status != "True":
        yield newest.reason or newest.type, f"Error pod {pod.name} condition message: {newest.message}"
    for container in statuses:
        who = f"Error pod {pod.name} container {container.name}"
        if (ended := container.state.terminated) is not None and ended.exit_code != 0:
            yield ended.reason or "Error", f"{who} exitCode: {ended.exit_code} terminated message: {ended.message}"
        elif (waiting := container.state.waiting) is not None and waiting.message:
            yield waiting.reason or "Waiting", f"{who} waiting message: {waiting.message}"

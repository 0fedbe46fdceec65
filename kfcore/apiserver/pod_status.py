"""A pod's line in `kubectl get pods`: its READY, STATUS and RESTARTS, from the states of its containers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.duration import human_duration, parse_time


class PodSummary(msgspec.Struct, frozen=True):
    """`ready` is `running containers/containers`; `status` the word that says how the pod is doing."""

    ready: str
    status: str
    restarts: str


def summarize(pod: Manifest, now: datetime) -> PodSummary:
    """The three cells of a pod. The rules are kubectl's: a stuck init container or a waiting container says more than
    the phase does, and a pod being deleted is Terminating whatever its containers say.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    phase = status.get("phase") or "Pending"
    word = status.get("reason") or phase
    if any(
        c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in _list(status, "conditions")
    ):
        word = "SchedulingGated"
    init_specs = _list(spec, "initContainers")
    sidecars = {c.get("name") for c in init_specs if c.get("restartPolicy") == "Always"}
    init_statuses = _list(status, "initContainerStatuses")
    statuses = _list(status, "containerStatuses")

    stuck = _stuck_init(init_statuses, sidecars, len(init_specs))
    counted = init_statuses
    ready = sum(1 for c in init_statuses if c.get("name") in sidecars and c.get("started") and c.get("ready"))
    if stuck:
        word = stuck
    if not stuck or _condition(status, "Initialized") == "True":
        counted = [*(c for c in init_statuses if c.get("name") in sidecars), *statuses]
        running = [c for c in statuses if c.get("ready") and _state(c, "running") is not None]
        ready += len(running)
        # The first container's trouble wins over a later one's.
        word = next(filter(None, map(_trouble, statuses)), word)
        if word == "Completed" and running:
            word = "Running" if _condition(status, "Ready") == "True" else "NotReady"
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            word = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            word = "Terminating"
    total = len(_list(spec, "containers")) + len(sidecars)
    return PodSummary(f"{ready}/{total}", word, _restarts(counted, now))


def _stuck_init(statuses: list[Manifest], sidecars: set[Any], total: int) -> str:
    """What the first init container that is not done is doing; empty when none holds the pod up."""
    for index, container in enumerate(statuses):
        terminated = _state(container, "terminated")
        waiting = _state(container, "waiting") or {}
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            continue
        if terminated is not None:
            return f"Init:{terminated.get('reason') or _exit(terminated)}"
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _trouble(container: Manifest) -> str:
    waiting, terminated = _state(container, "waiting"), _state(container, "terminated")
    if waiting and waiting.get("reason"):
        return str(waiting["reason"])
    if terminated is not None:
        return str(terminated.get("reason") or _exit(terminated))
    return ""


def _exit(terminated: Manifest) -> str:
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _restarts(containers: list[Manifest], now: datetime) -> str:
    count = sum(c.get("restartCount") or 0 for c in containers)
    ends = [parse_time(((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt")) for c in containers]
    last = max((end for end in ends if end is not None), default=None)
    if not count or last is None:
        return str(count)
    return f"{count} ({human_duration((now - last).total_seconds())} ago)"


def _list(parent: Manifest, key: str) -> list[Manifest]:
    return parent.get(key) or []


def _state(container: Manifest, name: str) -> Manifest | None:
    return (container.get("state") or {}).get(name)


def _condition(status: Manifest, type_: str) -> str:
    return next((c.get("status", "") for c in _list(status, "conditions") if c.get("type") == type_), "")

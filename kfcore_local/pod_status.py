"""A pod's status from the states of its containers: phase, conditions, container statuses, by kubelet's rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kfcore.api.meta import Manifest, rfc3339
from kfcore_local.pods import Container, LocalPod


def timestamp(time: datetime) -> str:
    return rfc3339(time.astimezone(UTC).replace(microsecond=0))


@dataclass(slots=True)
class ContainerRecord:
    """What became of a container so far. `state` and `last_state` are as the API writes them."""

    container: Container
    is_init: bool = False
    state: Manifest = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Manifest = field(default_factory=dict)
    restart_count: int = 0
    container_id: str = ""

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """Of the run that ended last, unless another one runs."""
        ended = self.state.get("terminated") or (self.last_state.get("terminated") if not self.running else None)
        return ended["exitCode"] if ended else None

    @property
    def ready(self) -> bool:
        if self.is_init and not self.container.is_sidecar:
            return self.done
        return self.running

    @property
    def done(self) -> bool:
        return "terminated" in self.state and self.exit_code == 0

    @property
    def initialized(self) -> bool:
        """Of an init container: the next one may start."""
        return self.running if self.container.is_sidecar else self.done

    def status(self) -> Manifest:
        return {
            "name": self.container.name,
            "image": self.container.image,
            "imageID": "",
            **({"containerID": self.container_id} if self.container_id else {}),
            "ready": self.ready,
            "started": self.running,
            "restartCount": self.restart_count,
            "state": self.state,
            "lastState": self.last_state,
        }


@dataclass(frozen=True, slots=True)
class PodFate:
    """Something that decided over the pod as a whole. `failed` is not asked of its containers then."""

    stopping: bool = False
    failed: bool = False
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodPlace:
    pod_ip: str
    host_ip: str
    start_time: datetime


def pod_status(
    pod: LocalPod,
    init: Sequence[ContainerRecord],
    main: Sequence[ContainerRecord],
    place: PodPlace,
    fate: PodFate,
    conditions: Sequence[Manifest],
    now: datetime,
) -> Manifest:
    """The status to write. `conditions` are the present ones: what others wrote there is kept."""
    phase = pod_phase(pod.spec.restart_policy, init, main, fate)
    status: Manifest = {
        "phase": phase,
        "conditions": _conditions(phase, init, main, conditions, timestamp(now)),
        "hostIP": place.host_ip,
        "hostIPs": [{"ip": place.host_ip}],
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
        "startTime": timestamp(place.start_time),
        "containerStatuses": [record.status() for record in main],
    }
    if init:
        status["initContainerStatuses"] = [record.status() for record in init]
    if fate.reason:
        status["reason"] = fate.reason
    if fate.message:
        status["message"] = fate.message
    return status


def pod_phase(policy: str, init: Sequence[ContainerRecord], main: Sequence[ContainerRecord], fate: PodFate) -> str:
    if fate.failed:
        running = any(record.running for record in (*init, *main))
        return "Running" if running else "Failed"
    blocked = next((record for record in init if not record.container.is_sidecar and not record.done), None)
    if blocked is not None:
        given_up = "terminated" in blocked.state and (policy == "Never" or fate.stopping)
        return "Failed" if given_up else "Pending"
    if any(record.running for record in main):
        return "Running"
    if any(record.running for record in init) and all(record.exit_code is not None for record in main):
        return "Running"  # sidecars end after the others
    if any(record.exit_code is None for record in main):
        return "Failed" if fate.stopping else "Pending"
    if policy == "Always" and not fate.stopping:
        return "Running"
    if all(record.exit_code == 0 for record in main):
        return "Succeeded"
    return "Failed" if policy == "Never" or fate.stopping else "Running"


def _conditions(
    phase: str,
    init: Sequence[ContainerRecord],
    main: Sequence[ContainerRecord],
    present: Sequence[Manifest],
    now: str,
) -> list[Manifest]:
    wanted = [
        _condition("PodScheduled", ""),
        _condition("Initialized", _uninitialized(phase, init)),
        _condition("ContainersReady", _unready(phase, main)),
        _condition("Ready", _unready(phase, main)),
    ]
    if phase in {"Succeeded", "Failed"}:
        for condition in wanted[1:]:
            if condition["status"] == "False":
                condition["reason"] = "PodCompleted" if phase == "Succeeded" else "PodFailed"
                condition.pop("message", None)
            elif phase == "Succeeded":
                condition["reason"] = "PodCompleted"
    old = {condition.get("type"): condition for condition in present}
    for condition in wanted:
        before = old.pop(condition["type"], {})
        same = before.get("status") == condition["status"]
        condition["lastTransitionTime"] = before.get("lastTransitionTime", now) if same else now
    return [*wanted, *old.values()]


def _condition(type_: str, problem: str) -> Manifest:
    if not problem:
        return {"type": type_, "status": "True"}
    reason = "ContainersNotInitialized" if type_ == "Initialized" else "ContainersNotReady"
    return {"type": type_, "status": "False", "reason": reason, "message": problem}


def _uninitialized(phase: str, init: Sequence[ContainerRecord]) -> str:
    names = [record.container.name for record in init if not record.initialized]
    return f"containers with incomplete status: [{' '.join(names)}]" if names and phase != "Succeeded" else ""


def _unready(phase: str, main: Sequence[ContainerRecord]) -> str:
    names: list[Any] = [record.container.name for record in main if not record.ready]
    return f"containers with unready status: [{' '.join(names)}]" if names else ""

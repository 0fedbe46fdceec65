"""A pod's status from the states of its containers: phase and container statuses, by kubelet's rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from kfcore.api.meta import Manifest, rfc3339
from kfcore_local.pods import Container, LocalPod


def timestamp(time: datetime) -> str:
    return rfc3339(time.astimezone(UTC).replace(microsecond=0))


class ContainerRecord(msgspec.Struct):
    """What became of a container so far. `state` and `last_state` are as the API writes them."""

    container: Container
    is_init: bool = False
    state: Manifest = msgspec.field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Manifest = msgspec.field(default_factory=dict)
    restart_count: int = 0
    container_id: str = ""
    is_ephemeral: bool = False
    started: bool = False
    """Its startup probe has succeeded, or it has none and runs."""
    probed_ready: bool = False
    """Its readiness probe says so, or it has none and runs."""
    gave_up: bool = False
    """A probe or a hook has ended its last run: that is a failure, whatever the exit code."""

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
        return self.running and self.started and self.probed_ready

    @property
    def done(self) -> bool:
        return "terminated" in self.state and self.exit_code == 0

    @property
    def initialized(self) -> bool:
        """Of an init container: the next one may start."""
        return self.running and self.started if self.container.is_sidecar else self.done

    def restarts(self, policy: str) -> bool:
        """Whether it is started again, as it ended last: by its own rules and policy, else by its pod's."""
        code, container = self.exit_code, self.container
        if code is None or self.is_ephemeral:
            return False
        if (self.is_init and container.is_sidecar) or any(
            rule.restarts(code) for rule in container.restart_policy_rules
        ):
            return True
        own = container.restart_policy or policy
        if self.is_init:
            return code != 0 and own != "Never"
        return own == "Always" or (own == "OnFailure" and (code != 0 or self.gave_up))

    def status(self) -> Manifest:
        return {
            "name": self.container.name,
            "image": self.container.image,
            "imageID": "",
            **({"containerID": self.container_id} if self.container_id else {}),
            "ready": self.ready,
            "started": self.running and self.started,
            "restartCount": self.restart_count,
            "state": self.state,
            "lastState": self.last_state,
        }


class PodFate(msgspec.Struct, frozen=True):
    """Something that decided over the pod as a whole. `failed` is not asked of its containers then."""

    stopping: bool = False
    failed: bool = False
    reason: str = ""
    message: str = ""


class PodPlace(msgspec.Struct, frozen=True):
    pod_ip: str
    host_ip: str
    start_time: datetime


def pod_status(
    pod: LocalPod,
    init: Sequence[ContainerRecord],
    main: Sequence[ContainerRecord],
    ephemeral: Sequence[ContainerRecord],
    place: PodPlace,
    fate: PodFate,
) -> Manifest:
    """The status to write, without its conditions (`pod_conditions.py`)."""
    phase = pod_phase(pod.spec.restart_policy, init, main, fate)
    if any(record.running for record in ephemeral) and phase in {"Succeeded", "Failed"}:
        phase = "Running"  # nobody hears that a pod has ended before all of it has
    status: Manifest = {
        "phase": phase,
        "hostIP": place.host_ip,
        "hostIPs": [{"ip": place.host_ip}],
        **({"podIP": place.pod_ip, "podIPs": [{"ip": place.pod_ip}]} if place.pod_ip else {}),
        "startTime": timestamp(place.start_time),
        "containerStatuses": [record.status() for record in main],
    }
    if init:
        status["initContainerStatuses"] = [record.status() for record in init]
    if ephemeral:
        status["ephemeralContainerStatuses"] = [record.status() for record in ephemeral]
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
        given_up = "terminated" in blocked.state and (fate.stopping or not blocked.restarts(policy))
        return "Failed" if given_up else "Pending"
    if any(record.running for record in main):
        return "Running"
    if any(record.running for record in init) and all(record.exit_code is not None for record in main):
        return "Running"  # sidecars end after the others
    if any(record.exit_code is None for record in main):
        return "Failed" if fate.stopping else "Pending"
    if not fate.stopping and any(record.restarts(policy) for record in main):
        return "Running"
    return "Succeeded" if all(record.exit_code == 0 for record in main) else "Failed"

"""A pod's conditions from the states of its containers, by kubelet's rules. Pure; what others write there is theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kfcore.api.meta import Manifest
from kfcore_local.pod_status import ContainerRecord
from kfcore_local.pods import LocalPod


def pod_conditions(
    pod: LocalPod,
    phase: str,
    init: Sequence[ContainerRecord],
    main: Sequence[ContainerRecord],
    before: Sequence[Manifest],
    now: str,
    *,
    sandbox: bool,
) -> list[Manifest]:
    """The kubelet's own, to merge into what is there. `before` are the present ones, whoever wrote them; `sandbox`:
    there is all that containers need to start.
    """
    present = {str(condition.get("type")): condition for condition in before}
    unready = _unready(init, main)
    gates = list(_closed_gates(pod, present))
    ended = phase in {"Succeeded", "Failed"}
    wanted = [
        {"type": "PodReadyToStartContainers", "status": "True" if sandbox and not ended else "False"},
        _condition("PodScheduled", "", ""),
        _condition("Initialized", "ContainersNotInitialized", _uninitialized(phase, init, main)),
        _condition("ContainersReady", "ContainersNotReady", unready),
        _condition(
            "Ready",
            "ContainersNotReady" if unready else "ReadinessGatesNotReady",
            ", ".join([part for part in (unready, *gates) if part]),
        ),
    ]
    if ended:
        for condition in wanted[2:]:
            if condition["status"] == "False":
                condition["reason"] = "PodCompleted" if phase == "Succeeded" else "PodFailed"
                condition.pop("message", None)
            elif phase == "Succeeded":
                condition["reason"] = "PodCompleted"
    for condition in wanted:
        known = present.get(condition["type"], {})
        same = known.get("status") == condition["status"]
        condition["lastTransitionTime"] = known.get("lastTransitionTime", now) if same else now
        # Merged by type: what no longer is must be said, or it stays.
        for field in ("reason", "message"):
            if field in known and field not in condition:
                condition[field] = None
    return wanted


def _condition(type_: str, reason: str, problem: str) -> Manifest:
    if not problem:
        return {"type": type_, "status": "True"}
    return {"type": type_, "status": "False", "reason": reason, "message": problem}


def _uninitialized(phase: str, init: Sequence[ContainerRecord], main: Sequence[ContainerRecord]) -> str:
    """A sidecar that is started again does not undo that all was ready once."""
    begun = any("waiting" not in record.state or record.last_state for record in main)
    names = [record.container.name for record in init if not record.initialized]
    if not names or begun or phase == "Succeeded":
        return ""
    return f"containers with incomplete status: [{' '.join(names)}]"


def _unready(init: Sequence[ContainerRecord], main: Sequence[ContainerRecord]) -> str:
    sidecars = [record for record in init if record.container.is_sidecar]
    names = [record.container.name for record in (*sidecars, *main) if not record.ready]
    return f"containers with unready status: [{' '.join(names)}]" if names else ""


def _closed_gates(pod: LocalPod, present: Mapping[str, Manifest]) -> Iterator[str]:
    for gate in pod.spec.readiness_gates:
        found = present.get(gate.condition_type)
        if found is None:
            yield f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.'
        elif found.get("status") != "True":
            status = found.get("status")
            yield f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {status}'

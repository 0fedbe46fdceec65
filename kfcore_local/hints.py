"""What a user can do about a pod that waits: the scheduler's words come in, advice for this machine goes out."""

from __future__ import annotations

import re
from collections.abc import Mapping

GPU = "nvidia.com/gpu"
_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]*[\w/-])")
_PREEMPTION = re.compile(r" preemption: 0/\d+ nodes are available: [^.]*\.")
_MISSING = re.compile(r'(configmap|secret) "[^"]*" not found')
_HELPFUL = "No preemption victims found"


def hint(message: str, allocatable: Mapping[str, object]) -> str:
    """Advice for somebody whose pod has this message; empty where the message says it all. `allocatable` is what the
    machine offers to pods."""
    if "Insufficient" in message and "PodGroup" in message:
        lacking = ", ".join(f"{name} {_readable(allocatable.get(name, 'none'))}" for name in _lacking(message))
        return f"This machine has {lacking}: the group has to fit as a whole, beside what runs already."
    if "Insufficient" in message:
        return _on_resources(_lacking(message), _HELPFUL in message, allocatable)
    if "node affinity/selector" in message:
        return "Label the node as asked (kubectl label node local KEY=VALUE), or take out nodeSelector and affinity."
    if "requested node name" in message:
        return "Take out nodeName, or say local: this machine is the only node."
    if "free ports" in message:
        return "It starts when the pod that has its hostPort ends; a Service needs none."
    if "anti-affinity rules" in message:
        return "There is one node: it starts when the pods end that it keeps away from. Prefer that, or take it out."
    if "pod affinity rules" in message:
        return "It starts when the pods are there that it wants to be near."
    if "topology spread" in message:
        return "There is one node, so no other to spread to: say whenUnsatisfiable: ScheduleAnyway."
    if "untolerated taint" in message:
        return "Add a toleration to the pod, or remove the taint: kubectl taint node local KEY-"
    if "were unschedulable" in message:
        return "The node is cordoned: kubectl uncordon local"
    if "persistentvolumeclaim" in message and "not found" in message:
        return "Add that PersistentVolumeClaim to the file, or create it with kubectl."
    if _MISSING.search(message):
        return "Add it to the file, or create it with kubectl."
    if "unbound immediate PersistentVolumeClaims" in message:
        return "What the claim waits for: kubectl describe pvc"
    if "Too many pods" in message:
        return f"This machine takes {allocatable.get('pods')} pods: it starts when another ends."
    return ""


def brief(message: str) -> str:
    """Without what is said of preemption, which is of no use to somebody at the terminal."""
    return _PREEMPTION.sub("", message)


def _lacking(message: str) -> list[str]:
    return list(dict.fromkeys(_INSUFFICIENT.findall(message)))


def _on_resources(lacking: list[str], others_have_it: bool, allocatable: Mapping[str, object]) -> str:
    if others_have_it:
        return "It starts when pods that have it end."
    parts = []
    if GPU in lacking:
        have = allocatable.get(GPU)
        parts.append(
            f"This machine has {have} of {GPU}: ask for no more."
            if have
            else f"nvidia-smi finds no GPU on this machine: take {GPU} out of the container's resources."
        )
    if others := [resource for resource in lacking if resource != GPU]:
        offered = ", ".join(f"{resource} {_readable(allocatable.get(resource, 'none'))}" for resource in others)
        parts.append(f"This machine has {offered}: ask for less in the container's resources.requests.")
    return " ".join(parts)


def _readable(quantity: object) -> str:
    """`24105316Ki` as `22.9Gi`."""
    text = str(quantity)
    if text.endswith("Ki") and text[:-2].isdecimal():
        return f"{int(text[:-2]) / 2**20:.1f}Gi"
    return text

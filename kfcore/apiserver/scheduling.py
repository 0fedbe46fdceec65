"""PriorityClasses: defaults, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.initial_objects import SYSTEM_CLASSES
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, unsupported

_HIGHEST_OF_USERS = 1_000_000_000
_POLICIES = ("Never", "PreemptLowerPriority")


def default_priority_class(priority: Manifest) -> None:
    priority.setdefault("value", 0)
    priority.setdefault("preemptionPolicy", "PreemptLowerPriority")


def validate_priority_class(priority: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    name, value = priority["metadata"].get("name", ""), priority["value"]
    if name.startswith("system-") and SYSTEM_CLASSES.get(name) != value:
        why = (
            "priority class names with 'system-' prefix are reserved for system use only. error: "
            f"{name} is not a known system priority class"
        )
        errors.append(forbidden_field("metadata.name", why))
    elif value > _HIGHEST_OF_USERS and name not in SYSTEM_CLASSES:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_OF_USERS}"
        errors.append(forbidden_field("value", why))
    if priority["preemptionPolicy"] not in _POLICIES:
        errors.append(unsupported("preemptionPolicy", priority["preemptionPolicy"], ("PreemptLowerPriority", "Never")))
    if previous is None:
        return errors
    if value != previous.get("value"):
        errors.append(forbidden_field("value", "may not be changed in an update."))
    if priority["preemptionPolicy"] != previous.get("preemptionPolicy"):
        errors.append(invalid_value("preemptionPolicy", priority["preemptionPolicy"], "field is immutable"))
    return errors

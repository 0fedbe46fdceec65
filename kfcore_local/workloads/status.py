"""Statuses and their conditions: built whole, compared with what is there, and sent as the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from kfcore.api.meta import Manifest, ServerObject, rfc3339
from kfcore.client.interface import Client

T = TypeVar("T", bound=ServerObject)


def timestamp(now: datetime) -> str:
    """A time in a status, in whole seconds as Kubernetes keeps it."""
    return rfc3339(now.replace(microsecond=0))


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def condition(conditions: Sequence[Manifest], type_: str) -> Manifest | None:
    return next((item for item in conditions if item.get("type") == type_), None)


def is_true(conditions: Sequence[Manifest], type_: str) -> bool:
    return (condition(conditions, type_) or {}).get("status") == "True"


def with_condition(conditions: Sequence[Manifest], new: Manifest) -> list[Manifest]:
    """The conditions with `new` in them; one of the same status and reason stays as it is, and of the same status keeps
    its transition time."""
    current = condition(conditions, new["type"])
    if current is not None:
        if current["status"] == new["status"] and current.get("reason") == new.get("reason"):
            return list(conditions)
        if current["status"] == new["status"] and "lastTransitionTime" in current:
            new = {**new, "lastTransitionTime": current["lastTransitionTime"]}
    return [*without_condition(conditions, new["type"]), new]


def without_condition(conditions: Sequence[Manifest], type_: str) -> list[Manifest]:
    return [item for item in conditions if item.get("type") != type_]


def without_zeros(status: Mapping[str, Any]) -> Manifest:
    """A status as the API writes it: counts of zero, empty texts and empty lists are left out."""
    return {key: value for key, value in status.items() if value not in (0, "", None, [])}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Manifest:
    """The merge patch, one level deep, that makes `new` of `old`."""
    changed = {key: value for key, value in new.items() if old.get(key) != value or key not in old}
    return changed | dict.fromkeys(key for key in old if key not in new)


async def write_status(client: Client, obj: T, status: Manifest) -> T:
    """Bring the object's status to `status`; sends nothing when it is there already.

    Fields of a former status that `status` does not hold are removed.
    """
    patch = difference(obj.status, status)  # type: ignore[attr-defined]
    if not patch:
        return obj
    return await client.patch(type(obj), obj.name, obj.namespace, {"status": patch}, subresource="status")

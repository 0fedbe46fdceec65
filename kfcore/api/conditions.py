"""Conditions as Kubernetes has them (metav1.Condition): what is true of an object, since when and why. A custom kind's
status takes them as `conditions: Conditions = []`; jobs have their own, of the Kubeflow operators' form.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from kfcore.api.meta import Model, Time


class Condition(Model):
    """One thing that is true of an object, is not, or cannot be told. `reason` is one word in CamelCase."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(min_length=1)
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: Time | None = None


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""The conditions of a status, at most one of a type."""


def find_condition(conditions: Sequence[Condition], type: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type), None)


def is_condition_true(conditions: Sequence[Condition], type: str) -> bool:
    found = find_condition(conditions, type)
    return found is not None and found.status == "True"


def set_condition(conditions: Sequence[Condition], condition: Condition, now: datetime) -> list[Condition]:
    """`conditions` with this one in its type's place, or at the end. Its time is `now` if its status is another than
    before, and the one that was otherwise: a pass that finds nothing new gives what it was given.
    """
    before = find_condition(conditions, condition.type)
    since = now if before is None or before.status != condition.status else before.last_transition_time
    new = condition.model_copy(update={"last_transition_time": since})
    if before is None:
        return [*conditions, new]
    return [new if present is before else present for present in conditions]

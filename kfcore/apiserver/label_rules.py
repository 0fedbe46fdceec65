"""The rules of label selectors, wherever an object has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import label_value, qualified_name
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required


def validate_labels(labels: Mapping[str, str], place: str) -> Iterator[FieldError]:
    for key, value in labels.items():
        yield from (invalid_value(place, key, why) for why in qualified_name(key))
        yield from (invalid_value(place, value, why) for why in label_value(value))


def validate_selector(selector: Manifest | None, place: str) -> Iterator[FieldError]:
    if selector is None:
        return
    yield from validate_labels(selector.get("matchLabels") or {}, f"{place}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        yield from _validate_expression(expression, f"{place}.matchExpressions[{index}]")


def _validate_expression(expression: Manifest, place: str) -> Iterator[FieldError]:
    yield from validate_requirement(expression, place)
    for index, value in enumerate(expression.get("values") or ()):
        yield from (invalid_value(f"{place}.values[{index}]", value, why) for why in label_value(value))


def validate_requirement(expression: Manifest, place: str, *, ordered: bool = False) -> Iterator[FieldError]:
    """The operator of an expression, how many values it takes, and its key. `ordered`: there are Gt and Lt, too."""
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_field(f"{place}.values", why)
        case "Gt" | "Lt" if ordered:
            if len(values) != 1:
                yield required(f"{place}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case _:
            yield invalid_value(f"{place}.operator", operator, "not a valid selector operator")
    yield from label_name(expression.get("key") or "", f"{place}.key")


def label_name(name: str, place: str) -> Iterator[FieldError]:
    yield from (invalid_value(place, name, why) for why in qualified_name(name))

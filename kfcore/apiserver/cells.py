"""The parts that the tables of built-in kinds share: columns by name, and the cells that many kinds have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.duration import age
from kfcore.apiserver.kinds import Column

NONE, UNSET = "<none>", "<unset>"
Cells = Callable[[Manifest, datetime], list[Any]]


class BuiltinTable(msgspec.Struct, frozen=True):
    """`cells` gives one object's values, one for each of `columns`."""

    columns: tuple[Column, ...]
    cells: Cells


_TYPES = {"#": "integer", "?": "boolean", "@": "date"}


def columns(narrow: str, wide: str = "") -> tuple[Column, ...]:
    """Columns by comma-separated names. After a name, `#` means an integer, `?` a boolean and `@` a date. `wide` ones
    are shown with `-o wide` only.
    """
    named = [(name.strip(), priority) for priority, names in enumerate((narrow, wide)) for name in names.split(",")]
    return tuple(
        Column(
            name.rstrip("#?@"),
            _TYPES.get(name[-1], "string"),
            "",
            format="name" if name == "Name" else "",
            priority=priority,
        )
        for name, priority in named
        if name
    )


NAME = columns("Name")[0]


def spec_of(obj: Manifest) -> Manifest:
    return obj.get("spec") or {}


def status_of(obj: Manifest) -> Manifest:
    return obj.get("status") or {}


def name_of(obj: Manifest) -> str:
    return str(obj["metadata"].get("name", ""))


def age_of(obj: Manifest, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def joined(values: Iterable[Any], separator: str = ",") -> str:
    return separator.join(map(str, values)) or NONE


def first_of(values: Sequence[Any], most: int = 3, separator: str = ",") -> str:
    """Some values, and how many more there are: `a,b,c + 2 more...`."""
    more = f" + {len(values) - most} more..." if len(values) > most else ""
    return separator.join(map(str, values[:most])) + more


def labels_text(labels: Manifest | None) -> str:
    return joined(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def selector_text(selector: Manifest | None) -> str:
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for expression in (selector or {}).get("matchExpressions") or []:
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
        match expression.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return joined(terms)

"""What distinguishes one kind from another on its way into storage: defaults, rules, generation, selectable fields.

`objects.py` runs every object through its kind's `Strategy`; `builtin.py` and `crd.py` provide them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.status import FieldError

Decode = Callable[[Manifest], list[str]]
Default = Callable[[Manifest], None]
Validate = Callable[[Manifest, Manifest | None], list[FieldError]]
Update = Callable[[Manifest, Manifest], None]
Names = Callable[[str], str | None]


def _nothing(manifest: Manifest) -> None:
    pass


def _nothing_changes(manifest: Manifest, previous: Manifest) -> None:
    pass


def _nothing_unknown(manifest: Manifest) -> list[str]:
    return []


def _no_errors(manifest: Manifest, previous: Manifest | None) -> list[FieldError]:
    return []


class Strategy(msgspec.Struct, frozen=True):
    """What one kind does differently.

    `decode` drops, in place, what the kind's types do not know, and returns the places of it; `default` fills in, in
    place, an object of any version of the kind. `admit` and then `on_create` run on creation alone, when the client's
    status is gone: what `admit` does, webhooks see. `on_update` runs on updates alone, with the object as it was.
    `validate` gets the object as it would be stored and, for an update, as it was. `finalizer` is put on when a
    deletion begins. `created_by_update`: a PUT may create. `counts_annotations`: the generation grows with changed
    annotations, too.
    """

    decode: Decode = _nothing_unknown
    default: Default = _nothing
    admit: Default = _nothing
    on_create: Default = _nothing
    on_update: Update = _nothing_changes
    validate: Validate = _no_errors
    generation: bool = True
    counts_annotations: bool = False
    keeps_status: bool = False
    unconditional_update: bool = True
    created_by_update: bool = False
    graceful: bool = False
    returns_deleted: bool = False
    finalizer: str = ""
    names: Names = dns_subdomain
    fields: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Selectable fields besides the metadata's, with the value that stands for absence."""


def value_at(manifest: Manifest, path: str) -> str:
    """The text of a dotted path for a field selector; an empty string where there is nothing."""
    value: Any = manifest
    for part in path.split("."):
        if not isinstance(value, dict):
            return ""
        value = value.get(part)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

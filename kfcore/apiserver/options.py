"""The options of a write that its query holds (`dryRun`, `fieldManager`, `fieldValidation`, `force`): their rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kfcore.api.resource import Resource
from kfcore.apiserver.request import Request
from kfcore.apiserver.status import FieldError, forbidden_field, invalid, invalid_value, required, unsupported

APPLY = "application/apply-patch+yaml"
VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_MANAGER_LIMIT = 128
_NAMED = frozenset({"dryRun", "fieldManager", "fieldValidation", "force"})
_OPTIONS = {
    method: Resource("meta.k8s.io", "v1", f"{kind}Options", f"{kind.lower()}options")
    for method, kind in (("POST", "Create"), ("PUT", "Update"), ("PATCH", "Patch"), ("DELETE", "Delete"))
}
DELETE_OPTIONS = _OPTIONS["DELETE"]


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false: only `false`, `0` and its absence are false."""
    return query.get(name, "0").lower() not in ("0", "false")


def check_options(request: Request) -> None:
    """Raises Invalid for options of a create, update or patch that there are not."""
    applies = request.method == "PATCH" and request.headers.get("content-type", "").partition(";")[0].strip() == APPLY
    if not applies and _NAMED.isdisjoint(request.query):
        return
    if request.method in ("POST", "PUT", "PATCH") and (errors := list(_problems(request, applies=applies))):
        raise invalid(_OPTIONS[request.method], "", errors)


def _problems(request: Request, *, applies: bool) -> Iterator[FieldError]:
    query = request.query
    if applies and not query.get("fieldManager"):
        yield required("fieldManager", "is required for apply patch")
    if not applies and request.method == "PATCH" and "force" in query:
        yield forbidden_field("force", "may not be specified for non-apply patch")
    yield from manager_problems(query.get("fieldManager", ""))
    if error := dry_run_problem(query.get("dryRun", "")):
        yield error
    if (validation := query.get("fieldValidation", "")) not in VALIDATIONS:
        yield unsupported("fieldValidation", validation, VALIDATIONS)


def manager_problems(manager: str) -> Iterator[FieldError]:
    if len(manager.encode()) > _MANAGER_LIMIT:
        yield FieldError("FieldValueTooLong", "fieldManager", f"Too long: may not be more than {_MANAGER_LIMIT} bytes")
    for position, character in enumerate(manager):
        if not character.isprintable():
            at = len(manager[:position].encode())
            why = f"invalid character U+{ord(character):04X} (at position {at})"
            yield invalid_value("fieldManager", manager, why)


def dry_run_problem(value: Any) -> FieldError | None:
    listed = value if isinstance(value, list) else [value] if value else []
    return unsupported("dryRun", value, ("All",)) if any(item != "All" for item in listed) else None

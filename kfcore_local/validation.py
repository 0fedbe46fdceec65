"""Whether documents can run, before anything does: kinds that are known, fields of the right type, known replica types.

Takes the documents of `manifests.py`; the API server checks the rest when it gets them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kfcore.api.codec import encode_json
from kfcore.api.meta import CustomResource
from kfcore.api.resource import Resource
from kfcore_local.manifests import BadInput, Document, FieldPath, describe

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "datetime_parsing": "a time such as 2024-01-31T09:30:00Z",
    "datetime_from_date_parsing": "a time such as 2024-01-31T09:30:00Z",
}


@dataclass(frozen=True)
class KnownKinds:
    """What a document may be: the kinds of the plugins, and the other kinds that the API serves."""

    jobs: Mapping[tuple[str, str], type[CustomResource]]
    others: Collection[tuple[str, str]]

    def resource(self, document: Document) -> Resource | None:
        """The kind of a job; None for anything else."""
        kind = self.jobs.get((document.api_version, document.kind))
        return kind.resource if kind else None


def validate(documents: Sequence[Document], known: KnownKinds) -> None:
    """Raises `BadInput` with all that is wrong, and when there is no job among the documents."""
    problems = [problem for document in documents for problem in _problems(document, documents, known)]
    if not problems and not any(known.resource(document) for document in documents):
        kinds = ", ".join(kind for _, kind in known.jobs)
        problems = [
            f"{documents[0].source}: holds no job to run ({kinds}); for other objects, "
            "start `kfcore local up` and use kubectl apply"
        ]
    if problems:
        raise BadInput(problems)


def _problems(document: Document, documents: Sequence[Document], known: KnownKinds) -> Iterator[str]:
    identity = (document.api_version, document.kind)
    if model := known.jobs.get(identity):
        yield from _wrong_fields(document, model)
    elif identity not in known.others and identity not in set(_defined_by(documents)):
        path, message = _unknown_kind(*identity, [*known.jobs, *known.others])
        yield document.problem((path,), message)


def _wrong_fields(document: Document, model: type[CustomResource]) -> Iterator[str]:
    try:
        # Strict, as the API server is: the text "2" is no number. Of JSON, strict takes times and enumerations as text.
        model.model_validate_json(encode_json(document.manifest), strict=True)
    except ValidationError as error:
        seen: set[FieldPath] = set()
        for detail in error.errors(include_url=False):
            path = _path(detail["loc"], document.manifest)
            if path not in seen:  # the members of a union each say no
                seen.add(path)
                yield document.problem(path, _expectation(dict(detail)))


def _path(location: tuple[int | str, ...], manifest: Any) -> FieldPath:
    """The part of pydantic's location that is in the manifest: without names of union members and `[key]`."""
    path: list[str | int] = []
    value = manifest
    for position, part in enumerate(location):
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]  # type: ignore[index]
        elif part == "[key]" or position < len(location) - 1:
            continue
        elif not isinstance(value, dict):
            break
        path.append(part)
    return tuple(path)


def _expectation(detail: Mapping[str, Any]) -> str:
    kind, got = detail["type"], describe(detail.get("input"))
    if kind == "missing":
        return "is missing; expected a value"
    if kind in ("literal_error", "enum"):
        return f"expected one of {str(detail['ctx']['expected']).replace(' or ', ', ').replace(chr(39), '')}, got {got}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {got}"
    if kind == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    message = str(detail["msg"])
    return f"{message[:1].lower()}{message[1:]}, got {got}"


def _unknown_kind(api_version: str, kind: str, known: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The field to change, and what is expected there."""
    versions = [version for version, name in known if name == kind]
    if versions:
        return "apiVersion", f"expected {' or '.join(versions)} for a {kind}, got {api_version!r}"
    same_group = [name for version, name in known if version == api_version]
    close = difflib.get_close_matches(kind, [name for _, name in known], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if same_group:
        return "kind", f"expected a kind of {api_version}: {', '.join(sorted(same_group))}; got {kind!r}{hint}"
    groups = ", ".join(sorted({version for version, _ in known}))
    return "apiVersion", f"expected one of {groups}; got {api_version!r}{hint}"


def _defined_by(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    """The kinds that CustomResourceDefinitions among the documents define."""
    for document in documents:
        if document.kind == "CustomResourceDefinition" and isinstance(spec := document.manifest.get("spec"), dict):
            names, versions = spec.get("names"), spec.get("versions")
            if isinstance(names, dict) and isinstance(versions, list):
                for version in versions:
                    if isinstance(version, dict):
                        yield f"{spec.get('group')}/{version.get('name')}", str(names.get("kind"))

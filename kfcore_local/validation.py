"""Whether documents can run, before anything does: kinds that are known, fields of the right type, known replica types.

Takes the documents of `manifests.py`; the API server checks the rest when it gets them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfcore.api import validation
from kfcore.api.codec import load
from kfcore.api.meta import CustomResource, Manifest, Model
from kfcore.api.pod_template import PodTemplate
from kfcore.api.resource import Resource
from kfcore.api.structural import pod_template_schema
from kfcore_local.manifests import BadInput, Document, FieldPath


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
    errors = validation.validate(model, document.manifest)
    for error in errors:
        yield document.problem(_path(error.path, document.manifest), error.message)
    if not errors:
        yield from _unknown_fields(document, load(model, document.manifest), ())


def _unknown_fields(document: Document, value: object, path: FieldPath) -> Iterator[str]:
    """Fields that no type declares: misspelt ones, as a rule. What the API server writes itself may hold any."""
    if isinstance(value, Model):
        names = {field: info.alias or field for field, info in type(value).model_fields.items()}
        for extra in value.model_extra or {}:
            close = difflib.get_close_matches(extra, names.values(), n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; expected {', '.join(names.values())}"
            yield document.problem((*path, extra), f"is not a known field{hint}")
        for field, name in names.items():
            if path or name not in ("metadata", "status"):
                yield from _unknown_fields(document, getattr(value, field), (*path, name))
    elif isinstance(value, PodTemplate):
        yield from _outside_of(pod_template_schema(), document, value.raw, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unknown_fields(document, item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_fields(document, item, (*path, index))


def _outside_of(schema: Manifest, document: Document, value: object, path: FieldPath) -> Iterator[str]:
    """Fields of a pod template that pods do not have: a cluster drops them, and kubectl refuses them."""
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _outside_of(schema["items"], document, item, (*path, index))
    if not isinstance(value, dict) or "properties" not in schema:
        return
    fields = schema["properties"]
    for name, item in value.items():
        if name == "metadata":  # what tools write there, such as `creationTimestamp: null`, is in nobody's way
            continue
        if name in fields:
            yield from _outside_of(fields[name], document, item, (*path, name))
        else:
            close = difflib.get_close_matches(str(name), fields, n=1)
            yield document.problem(
                (*path, name), f"is not a known field{f'; did you mean {close[0]}?' if close else ''}"
            )


def _path(text: str, manifest: Any) -> FieldPath:
    """`spec.containers[0].name` as keys and indices, with replica types as the manifest spells them."""
    path: list[str | int] = []
    value = manifest
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", text):
        part: str | int = int(index) if index else key
        if isinstance(value, dict):
            part = next((name for name in value if name.lower() == key.lower()), part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        path.append(part)
    return tuple(path)


def _unknown_kind(api_version: str, kind: str, known: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The field to change, and what is expected there."""
    versions = [version for version, name in known if name == kind]
    if versions:
        return "apiVersion", f"expected {' or '.join(versions)} for a {kind}; found {api_version!r}"
    same_group = [name for version, name in known if version == api_version]
    close = difflib.get_close_matches(kind, [name for _, name in known], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if same_group:
        return "kind", f"expected a kind of {api_version}: {', '.join(sorted(same_group))}; found {kind!r}{hint}"
    groups = ", ".join(sorted({version for version, _ in known}))
    return "apiVersion", f"expected one of {groups}; found {api_version!r}{hint}"


def _defined_by(documents: Iterable[Document]) -> Iterator[tuple[str, str]]:
    """The kinds that CustomResourceDefinitions among the documents define."""
    for document in documents:
        if document.kind == "CustomResourceDefinition" and isinstance(spec := document.manifest.get("spec"), dict):
            names, versions = spec.get("names"), spec.get("versions")
            if isinstance(names, dict) and isinstance(versions, list):
                for version in versions:
                    if isinstance(version, dict):
                        yield f"{spec.get('group')}/{version.get('name')}", str(names.get("kind"))

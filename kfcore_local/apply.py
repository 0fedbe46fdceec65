"""Documents into the API server, all or none: it is asked about every one of them before it gets the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kfcore.api.core import CustomResourceDefinition, Namespace
from kfcore.api.meta import Manifest, registry, untyped
from kfcore.api.resource import Resource, pluralize
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.client.errors import AlreadyExists, ApiError, NotFound
from kfcore.client.interface import Client
from kfcore_local.manifests import BadInput, Document

_FIRST = ("Namespace", "CustomResourceDefinition")


async def apply(client: Client, documents: Sequence[Document]) -> None:
    """Create what the documents describe, and the namespaces that they name; raises `BadInput` and creates nothing when
    the API server says no to one of them.

    Namespaces and CustomResourceDefinitions come first, the rest in its order.
    """
    resources = _resources(documents)
    ordered = sorted(documents, key=lambda document: document.kind not in _FIRST)
    problems = []
    for document in ordered:
        try:
            await _create(client, document, resources, dry_run=True)
        except NotFound:
            pass  # of a namespace or a kind that comes with these documents
        except ApiError as error:
            problems += _refused(document, error)
    if problems:
        raise BadInput(problems)
    await _make_namespaces(client, documents)
    for document in ordered:
        try:
            await _create(client, document, resources, dry_run=False)
        except ApiError as error:
            raise BadInput(_refused(document, error)) from error


async def _create(
    client: Client, document: Document, resources: Mapping[tuple[str, str], Resource], *, dry_run: bool
) -> None:
    resource = resources[document.api_version, document.kind]
    namespace = document.namespace if resource.namespaced else None
    await client.create(untyped(resource), _in_its_directory(document), namespace, dry_run=dry_run)


def _resources(documents: Sequence[Document]) -> dict[tuple[str, str], Resource]:
    known = [kind.resource for kind in builtin_kinds()] + [kind.resource for kind in registry.types()]
    resources = {(resource.api_version, resource.kind): resource for resource in known}
    for document in documents:
        if document.kind == CustomResourceDefinition.resource.kind:
            resources |= _defined(document.manifest)
    return resources


def _defined(definition: Manifest) -> dict[tuple[str, str], Resource]:
    spec = definition["spec"]
    group, kind = str(spec["group"]), str(spec["names"]["kind"])
    plural, namespaced = spec["names"].get("plural") or pluralize(kind), spec.get("scope") != "Cluster"
    found = [Resource(group, str(version["name"]), kind, plural, namespaced) for version in spec["versions"]]
    return {(resource.api_version, resource.kind): resource for resource in found}


async def _make_namespaces(client: Client, documents: Sequence[Document]) -> None:
    """On this machine nobody else makes them."""
    defined = {document.name for document in documents if document.kind == Namespace.resource.kind}
    for name in {document.namespace for document in documents} - defined:
        try:
            await client.create(Namespace, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        except AlreadyExists:
            continue


def _in_its_directory(document: Document) -> Manifest:
    """The manifest, with the file's directory as `workingDir` of every container that names none, so that
    `python train.py` finds the script beside the file. An image would hold it; here the image is the machine.
    """

    def rooted(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: rooted(item, name) for name, item in value.items()}
        if not isinstance(value, list):
            return value
        items = [rooted(item) for item in value]
        if key not in ("containers", "initContainers"):
            return items
        return [
            {**item, "workingDir": str(document.directory / item.get("workingDir", ""))}
            if isinstance(item, dict)
            else item
            for item in items
        ]

    manifest: Manifest = rooted(document.manifest)
    return manifest


def _refused(document: Document, error: ApiError) -> list[str]:
    """The server's words, by field where it names fields."""
    details = error.status.details
    causes = [cause for cause in details.causes if cause.message] if details else []
    if not causes:
        return [document.problem((), str(error))]
    return [
        document.problem((), f"{cause.field}: {cause.message}" if cause.field else cause.message) for cause in causes
    ]

"""What kubectl reads before it applies or explains something: `/openapi/v3`, one document a group version, and
`/openapi/v2`, one of everything; made when first asked for. The schemas of custom kinds are their CRDs';
`builtin_schemas.py` has the others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.builtin_schemas import BuiltinSchemas
from kfcore.apiserver.discovery import VERSION
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.openapi_protobuf import encode_document
from kfcore.apiserver.openapi_v2 import swagger
from kfcore.apiserver.request import Request, Response

_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# The same, in a spelling that is a valid media type: it is what the answer says.
_V2_PROTOBUF_ALIAS = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_INFO = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
_OBJECT_META = "V1ObjectMeta"
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_WRITE_PARAMETERS: tuple[tuple[str, str], ...] = (
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
)


class OpenApi:
    """The documents of the kinds served; each is kept until a CRD changes what its group holds."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._builtin = BuiltinSchemas()
        self._documents: dict[str, tuple[str, bytes]] = {}
        self._swagger: dict[str, tuple[str, bytes]] = {}

    async def answer(self, request: Request) -> Response | None:
        """The answer to a request under `/openapi`; None for what is not served."""
        match request.path.strip("/").split("/"):
            case ["openapi", "v2"]:
                return await self._version_2(request)
            case ["openapi", "v3"]:
                return self._index()
            case ["openapi", "v3", "api", version]:
                return await self._document(request, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return await self._document(request, group, version)
        return None

    def _index(self) -> Response:
        paths = {}
        for group, versions in self._kinds.group_versions().items():
            for group_version in versions:
                place = _place(group, group_version)
                digest = _digest(self._kinds.in_group(group, group_version))
                paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={digest}"}
        return Response(200, {"content-type": "application/json"}, encode_json({"paths": paths}))

    async def _document(self, request: Request, group: str, group_version: str) -> Response | None:
        kinds = self._kinds.in_group(group, group_version)
        if not kinds:
            return None
        place, digest = _place(group, group_version), _digest(kinds)
        known = self._documents.get(place)
        if known is None or known[0] != digest:
            # In a thread: the first document reads the models of a few hundred built-in types.
            known = (digest, await asyncio.to_thread(self._build, kinds))
            self._documents[place] = known
        headers = {"content-type": "application/json", "etag": f'"{digest}"'}
        if request.query.get("hash") == digest:
            headers |= _FOREVER
        return Response(200, headers, known[1])

    async def _version_2(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        form = _V2_PROTOBUF_ALIAS if _V2_PROTOBUF in accept or _V2_PROTOBUF_ALIAS in accept else "application/json"
        groups = [kinds for kinds in self._groups() if kinds]
        digest = _digest([kind for kinds in groups for kind in kinds])
        known = self._swagger.get(form)
        if known is None or known[0] != digest:
            known = (digest, await asyncio.to_thread(self._build_version_2, groups, form))
            self._swagger[form] = known
        headers = {"content-type": form, "etag": f'"{digest}"', "vary": "Accept"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(304, headers, b"")
        return Response(200, headers, known[1])

    def _groups(self) -> Iterable[list[ServedKind]]:
        for group, versions in self._kinds.group_versions().items():
            for group_version in versions:
                yield self._kinds.in_group(group, group_version)

    def _build_version_2(self, groups: Iterable[Iterable[ServedKind]], form: str) -> bytes:
        document = swagger(_INFO, (self._describe(kinds) for kinds in groups))
        return encode_json(document) if form == "application/json" else encode_document(document)

    def _build(self, kinds: Iterable[ServedKind]) -> bytes:
        return encode_json(self._describe(kinds))

    def _describe(self, kinds: Iterable[ServedKind]) -> Manifest:
        paths: Manifest = {}
        schemas: Manifest = {}
        for kind in kinds:
            name, found = self._custom(kind) if kind.custom else self._builtin.of_kind(kind.resource)
            schemas |= found
            schemas[name] = {**schemas[name], "x-kubernetes-group-version-kind": [_identity(kind)]}
            paths |= _paths(kind, name)
        return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}

    def _custom(self, kind: ServedKind) -> tuple[str, Manifest]:
        resource = kind.resource
        name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
        meta_name, schemas = self._builtin.of_model(_OBJECT_META)
        schema = kind.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        properties = {
            "apiVersion": {"type": "string", "description": "The group and version of this object's schema."},
            "kind": {"type": "string", "description": "The kind of this object."},
            **(schema.get("properties") or {}),
            "metadata": {
                "description": "Standard object's metadata.",
                "allOf": [{"$ref": f"#/components/schemas/{meta_name}"}],
            },
        }
        return name, {**schemas, name: {**schema, "properties": properties}}


def _place(group: str, group_version: str) -> str:
    return f"apis/{group}/{group_version}" if group else f"api/{group_version}"


def _identity(kind: ServedKind) -> Manifest:
    resource = kind.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _digest(kinds: Iterable[ServedKind]) -> str:
    """Changes when the document would: kubectl keeps documents by it, across runs of this server."""
    try:
        models = version("kubernetes-asyncio")
    except PackageNotFoundError:
        models = ""
    facts = [(kind.resource.plural, kind.resource.kind, kind.verbs, kind.schema) for kind in kinds]
    return hashlib.sha256(encode_json([VERSION["gitVersion"], models, facts])).hexdigest().upper()


def _paths(kind: ServedKind, schema_name: str) -> Manifest:
    """The operations of a kind, with the facts that kubectl looks for: which kind an operation is of, and that writes
    take `fieldValidation`, so that the server's own validation is relied upon.
    """
    resource = kind.resource
    collection = resource.base_path + ("/namespaces/{namespace}/" if resource.namespaced else "/") + resource.plural
    reference = {"schema": {"$ref": f"#/components/schemas/{schema_name}"}}
    answer = {"200": {"description": "OK", "content": {"application/json": reference}}}

    def operation(action: str, body: Iterable[str] = ()) -> Manifest:
        made: dict[str, Any] = {
            "responses": answer,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _identity(kind),
        }
        if body:
            made["parameters"] = [
                {"name": name, "in": "query", "schema": {"type": type_, "uniqueItems": True}}
                for name, type_ in _WRITE_PARAMETERS
            ]
            made["requestBody"] = {"content": dict.fromkeys(body, reference)}
        return made

    whole: Manifest = {}
    if "list" in kind.verbs:
        whole["get"] = operation("list")
    if "create" in kind.verbs:
        whole["post"] = operation("post", ["application/json"])
    one: Manifest = {}
    if "get" in kind.verbs:
        one["get"] = operation("get")
    if "update" in kind.verbs:
        one["put"] = operation("put", ["application/json"])
    if "patch" in kind.verbs:
        one["patch"] = operation("patch", _PATCH_TYPES if kind.custom else (*_PATCH_TYPES, _STRATEGIC))
    if "delete" in kind.verbs:
        one["delete"] = operation("delete")
    paths = {collection: whole}
    if one:
        paths[collection + "/{name}"] = one
    return paths

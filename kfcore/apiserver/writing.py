"""Create, replace, patch, apply and delete: from a request's body to `Objects`, and its answer back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import apply, strategic
from kfcore.apiserver.apply_checks import check_applied
from kfcore.apiserver.conversion import served, served_bytes
from kfcore.apiserver.deletion import DELETE_OPTIONS, DeleteOptions, parse_options
from kfcore.apiserver.field_validation import FieldValidation
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.objects import Change, Demand, Objects
from kfcore.apiserver.ownership import OPTIONS, owner_of
from kfcore.apiserver.patch import json_patch, merge_patch
from kfcore.apiserver.reading import Reading, list_body
from kfcore.apiserver.representation import negotiate
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.reviews import Reviews
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import (
    JSON,
    bad_request,
    deleted_status,
    invalid,
    method_not_allowed,
    required,
    unsupported,
)
from kfcore.apiserver.storage import Stored
from kfcore.apiserver.typed import type_of
from kfcore.client.errors import NotFound, RequestEntityTooLarge, UnsupportedMediaType

BODY_LIMIT = 3 * 1024 * 1024
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def dry_run(request: Request, body: Manifest | None = None) -> bool:
    """Whether nothing is to be stored: the query says so, or (`body`) the options of a delete."""
    value = request.query.get("dryRun", "")
    listed = (body or {}).get("dryRun")
    if listed:
        value = listed[0] if isinstance(listed, list) and len(listed) == 1 else listed
    if not value:
        return False
    if value != "All":
        raise invalid(OPTIONS.get(request.method, DELETE_OPTIONS), "", [unsupported("dryRun", value, ("All",))])
    return True


def read_json(body: bytes, kind: str) -> Any:
    """A JSON body. Raises BadRequest in the server's words; `kind` is what was expected."""
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")
    try:
        return decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        excerpt = body[:100].decode("utf-8", "replace")
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse "
            f"error: {error} ({excerpt})"
        ) from error


def read_yaml(body: bytes, kind: str) -> Any:
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")
    if body.lstrip()[:1] == b"{":
        return read_json(body, kind)
    import yaml  # only applies and YAML bodies need it

    try:
        return decode_json(encode_json(yaml.safe_load(body)))
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise bad_request(f"error decoding YAML: {error}") from error


class Writing:
    def __init__(
        self,
        objects: Objects,
        reading: Reading,
        reviews: Reviews,
        demands: Callable[[Request, ServedKind], Demand | None],
    ) -> None:
        """`demands` gives what a request's user must have to write objects of a kind, where that hangs on them."""
        self._objects = objects
        self._reading = reading
        self._reviews = reviews
        self._demands = demands

    # ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def manifest(self, kind: ServedKind, request: Request) -> Manifest:
        """The object in a request's body, checked to be one of `kind`."""
        return self._read(kind, request)[0]

    def _read(self, kind: ServedKind, request: Request) -> tuple[Manifest, FieldValidation]:
        resource = kind.resource
        match media_type(request):
            case "application/json" | "":
                body = read_json(request.body, resource.kind)
            case "application/yaml":
                body = read_yaml(request.body, resource.kind)
            case _:
                raise UnsupportedMediaType(
                    "the body of the request was in an unknown format - accepted media types include: "
                    "application/json, application/yaml"
                )
        manifest = check_kind(resource, body, custom=kind.custom)
        validation = FieldValidation(request, kind)
        validation.check_body(request.body, manifest)
        return manifest, validation

    def answer(
        self,
        kind: ServedKind,
        stored: Stored,
        request: Request,
        status: int = 200,
        validation: FieldValidation | None = None,
    ) -> Response:
        headers = dict(JSON)
        if validation is not None and validation.warnings:
            headers["warning"] = validation.header
        view = negotiate(
            request.headers.get("accept", ""), request.query.get("includeObject", ""), self._objects.clock.now
        )
        if view.plain:
            return Response(status, headers, served_bytes(kind, stored))
        return Response(status, headers, view.one(kind, served(kind, stored)))

    # ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, route: Route, request: Request) -> Response:
        if route.name or (route.kind.resource.namespaced and not route.namespace):
            raise method_not_allowed()
        manifest, validation = self._read(route.kind, request)
        if route.kind.create_only:
            return self._reviews.answer(route, manifest, request)
        return self._create(route, request, manifest, validation)

    def _create(self, route: Route, request: Request, manifest: Manifest, validation: FieldValidation) -> Response:
        dry = dry_run(request)
        owner = owner_of(request, self._objects.now())
        stored = self._objects.create(
            route.kind,
            route.namespace,
            manifest,
            dry_run=dry,
            owner=owner,
            unknown=validation.unknown,
            demand=self._demands(request, route.kind),
        )
        return self.answer(route.kind, stored, request, 201, validation)

    def creates(self, route: Route) -> bool:
        """Whether a PUT creates: of a few kinds, what is not there."""
        may = self._objects.strategy(route.kind).created_by_update and not route.subresource
        return may and self._objects.collection(route.kind).get(route.namespace, route.name) is None

    def replace(self, route: Route, request: Request) -> Response:
        if not route.name:
            raise method_not_allowed()
        body, validation = self._read(route.kind, request)
        if self.creates(route):
            metadata = body.get("metadata")
            if not isinstance(metadata, dict) or metadata.get("name") != route.name:
                raise bad_request("the name of the object does not match the name on the URL")
            return self._create(route, request, body, validation)
        stored = self._objects.update(
            route.kind,
            route.namespace,
            route.name,
            lambda _: body,
            subresource=route.subresource,
            dry_run=dry_run(request),
            replaces=True,
            owner=owner_of(request, self._objects.now()),
            unknown=validation.unknown,
            demand=self._demands(request, route.kind),
        )
        return self.answer(route.kind, stored, request, validation=validation)

    def patch(self, route: Route, request: Request) -> Response:
        if not route.name:
            raise method_not_allowed()
        if media_type(request) == APPLY:
            return self._apply(route, request)
        change = patch_change(route.kind, media_type(request), request.body)
        validation = FieldValidation(request, route.kind)

        def checked(manifest: Manifest) -> Manifest:
            changed = change(manifest)
            validation.check_patched(changed)
            return changed

        dry = dry_run(request)
        stored = self._objects.update(
            route.kind,
            route.namespace,
            route.name,
            checked,
            subresource=route.subresource,
            dry_run=dry,
            owner=owner_of(request, self._objects.now()),
            unknown=validation.unknown,
            demand=self._demands(request, route.kind),
        )
        return self.answer(route.kind, stored, request, validation=validation)

    def _apply(self, route: Route, request: Request) -> Response:
        kind, query = route.kind, request.query
        manager = query.get("fieldManager", "")
        if not manager:
            raise invalid(OPTIONS["PATCH"], "", [required("fieldManager", "is required for apply patch")])
        body = check_kind(kind.resource, read_yaml(request.body, kind.resource.kind), custom=kind.custom, exact=True)
        metadata = body.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise bad_request("metadata must be an object")
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        metadata.setdefault("name", route.name)
        apply.reset(kind, body, route.subresource)
        check_applied(kind, route.namespace, body)
        validation = FieldValidation(request, kind)
        validation.check_patched(body)
        applier = apply.Applier(
            kind,
            manager,
            force=query.get("force", "") in ("true", "1"),
            subresource=route.subresource,
            now=self._objects.now(),
        )
        dry, demand = dry_run(request), self._demands(request, kind)
        exists = self._objects.collection(kind).get(route.namespace, route.name) is not None
        if not exists and not route.subresource:
            manifest = applier.create(body)
            stored = self._objects.create(
                kind, route.namespace, manifest, dry_run=dry, unknown=validation.unknown, demand=demand
            )
            return self.answer(kind, stored, request, 201, validation)
        stored = self._objects.update(
            kind,
            route.namespace,
            route.name,
            lambda current: applier.apply(current, body),
            subresource=route.subresource,
            dry_run=dry,
            unknown=validation.unknown,
            demand=demand,
        )
        return self.answer(kind, stored, request, validation=validation)

    def delete(self, route: Route, request: Request) -> Response:
        body = read_json(request.body, "DeleteOptions") if request.body.strip() else {}
        if not isinstance(body, dict):
            raise bad_request("the body of a delete must be DeleteOptions")
        options = parse_options(body, dict(request.query))
        dry = dry_run(request, body)
        if not route.name:
            return self._delete_collection(route, request, options, dry=dry)
        if route.subresource:
            raise method_not_allowed()
        kind = route.kind
        done = self._objects.delete(kind, route.namespace, route.name, options, dry_run=dry)
        if done.gone and not self._objects.strategy(kind).returns_deleted:
            return Response(200, dict(JSON), deleted_status(kind.resource, route.name, done.stored.uid))
        return self.answer(kind, done.stored, request)

    def _delete_collection(self, route: Route, request: Request, options: DeleteOptions, *, dry: bool) -> Response:
        kind = route.kind
        if "deletecollection" not in kind.verbs or (kind.resource.namespaced and not route.namespace):
            raise method_not_allowed()
        selects = self._reading.selection(kind, request.query)
        chosen = [stored for stored in self._objects.collection(kind).select(route.namespace) if selects(stored)]
        version = self._objects.storage.version
        for stored in chosen:
            try:
                self._objects.delete(kind, *stored.key, options, dry_run=dry)
            except NotFound:
                continue  # collected as a dependent of an earlier one
        return Response(200, dict(JSON), list_body(kind, chosen, {"resourceVersion": str(version)}))


def _beginning(body: Manifest) -> str:
    """The first 200 bytes of a body, for a message; a character that they cut in two is left out."""
    return encode_json(body)[:200].decode(errors="ignore")


def check_kind(resource: Resource, body: Any, *, custom: bool, exact: bool = False) -> Manifest:
    """`body` as an object of `resource`. Raises BadRequest when it is something else."""
    what = f'{resource.kind} in version "{resource.version}"'
    if not isinstance(body, dict):
        raise bad_request(
            f"{what} cannot be handled as a {resource.kind}: json: cannot unmarshal into Go value of type "
            f"{resource.version}.{resource.kind}"
        )
    kind, api_version = body.get("kind"), body.get("apiVersion")
    if not kind and (custom or exact):
        raise bad_request(f"Object 'Kind' is missing in '{_beginning(body)}'")
    if not api_version and (custom or exact):
        raise bad_request(f"Object 'apiVersion' is missing in '{_beginning(body)}'")
    kind, api_version = kind or resource.kind, api_version or resource.api_version
    if kind != resource.kind:
        version = str(api_version).rpartition("/")[2]
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: converting ({version}.{kind}) to '
            f"({resource.group.partition('.')[0] or 'core'}.{resource.kind}): unknown conversion"
        )
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    return body


def _read_patch(type_: str, body: bytes) -> Any:
    """A patch's body. Raises BadRequest for one that is not JSON, or not of the form that its media type has."""
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")
    lead = "" if type_.startswith("application/strategic") else "error decoding patch: "
    try:
        patch = decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"{lead}{error}") from error
    expected: type = list if type_ == JSON_PATCH else dict
    if not isinstance(patch, expected):
        found = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(patch), "number")
        go_type = "[]interface {}" if expected is list else "map[string]interface {}"
        raise bad_request(f"{lead}json: cannot unmarshal {found} into Go value of type {go_type}")
    return patch


def patch_change(kind: ServedKind, type_: str, body: bytes) -> Change:
    """What a patch body does to an object, by its media type."""
    apply_patch: Callable[[Any, Any], Any]
    match type_:
        case "application/merge-patch+json":
            apply_patch = merge_patch
        case "application/json-patch+json":
            apply_patch = json_patch
        case "application/strategic-merge-patch+json" if not kind.custom:
            apply_patch = partial(strategic.strategic_patch, type_=type_of(kind))
        case _:
            raise UnsupportedMediaType("415: Unsupported Media Type")
    patch = _read_patch(type_, body)

    def change(manifest: Manifest) -> Manifest:
        before = manifest["metadata"]
        identity = {"uid": before.get("uid"), "resourceVersion": before.get("resourceVersion")}
        patched = apply_patch(manifest, patch)
        patched = check_kind(kind.resource, patched, custom=kind.custom)
        metadata = patched.get("metadata")
        if isinstance(metadata, dict):
            for field in ("name", "namespace"):
                if field in before and not metadata.get(field):
                    metadata[field] = before[field]
            metadata.setdefault("resourceVersion", identity["resourceVersion"])
        return patched

    return change

"""The scale subresource: an autoscaling/v1 Scale that stands for the replicas of an object, read and written.

Who sets the replicas through it owns the object's field, under the name of the subresource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import shapes
from kfcore.apiserver.apply import Applier
from kfcore.apiserver.apply_checks import check_applied, read_applied
from kfcore.apiserver.bodies import check_kind, media_type, read_json
from kfcore.apiserver.conversion import served
from kfcore.apiserver.field_validation import FieldValidation
from kfcore.apiserver.gate import Gate
from kfcore.apiserver.identity import check_identity
from kfcore.apiserver.kinds import ScalePaths, ServedKind
from kfcore.apiserver.metadata import clean
from kfcore.apiserver.objects import Change, Objects
from kfcore.apiserver.options import APPLY, flag
from kfcore.apiserver.ownership import owner_of
from kfcore.apiserver.patching import Patcher
from kfcore.apiserver.representation import negotiate
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import JSON, conflict, invalid, invalid_value, no_such_resource
from kfcore.apiserver.storage import Stored
from kfcore.client.errors import Cause, Conflict, StatusDetails

_SCALE = Resource("autoscaling", "v1", "Scale", "scales")
_SERVED = ServedKind(_SCALE)
_REPLICAS = ".spec.replicas"
_decode = shapes.decoder(_SCALE)


class Scales:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def read(self, route: Route, request: Request) -> Response:
        return self._answer(route.kind, self._objects.read(route.kind, route.namespace, route.name), request)

    def write(self, route: Route, request: Request, gate: Gate | None = None, *, dry_run: bool) -> Response:
        """A PUT or PATCH."""
        kind = route.kind
        if kind.scale is None:
            raise no_such_resource()
        applies = request.method == "PATCH" and media_type(request) == APPLY
        change = self._applied(route, request, kind.scale) if applies else self._changed(route, request, kind.scale)
        stored = self._objects.update(
            kind,
            route.namespace,
            route.name,
            change,
            dry_run=dry_run,
            subresource="scale",
            owner=None if applies else owner_of(request, self._objects.now()),
            gate=None if gate is None else _ScaleGate(kind, kind.scale, gate),
        )
        return self._answer(kind, stored, request)

    def _answer(self, kind: ServedKind, stored: Stored, request: Request) -> Response:
        scale = scale_of(kind, served(kind, stored))
        view = negotiate(
            request.headers.get("accept", ""), request.query.get("includeObject", ""), self._objects.clock.now
        )
        return Response(200, dict(JSON), encode_json(scale) if view.plain else view.one(_SERVED, scale))

    def _changed(self, route: Route, request: Request, paths: ScalePaths) -> Change:
        wanted = _wanted(request)

        def change(manifest: Manifest) -> Manifest:
            scale = wanted(scale_of(route.kind, manifest))
            metadata = clean(scale, _SCALE)
            check_identity(route.kind, route.namespace, route.name, metadata)
            _check_uid(route, metadata.get("uid"), manifest["metadata"].get("uid"))
            replicas = (scale.get("spec") or {}).get("replicas", 0)
            if replicas < 0:
                error = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
                raise invalid(_SCALE, route.name, [error])
            if version := metadata.get("resourceVersion"):
                manifest["metadata"]["resourceVersion"] = version
            put(manifest, paths.spec_replicas, replicas)
            return manifest

        return change

    def _applied(self, route: Route, request: Request, paths: ScalePaths) -> Change:
        kind = route.kind
        validation = FieldValidation(request, _SERVED)
        body = read_applied(_SERVED, route.name, request.body, validation)
        check_applied(_SERVED, route.namespace, body)
        check_identity(kind, route.namespace, route.name, body["metadata"])
        applier = Applier(
            kind,
            request.query["fieldManager"],
            force=flag(request.query, "force"),
            subresource="scale",
            now=self._objects.now(),
        )
        applied: Manifest = {"kind": kind.resource.kind, "apiVersion": kind.resource.api_version}
        applied["metadata"] = body["metadata"]
        if (replicas := (body.get("spec") or {}).get("replicas")) is not None:
            put(applied, paths.spec_replicas, replicas)

        def change(manifest: Manifest) -> Manifest:
            try:
                return applier.apply(manifest, applied)
            except Conflict as error:
                raise _of_scale(error, paths) from error

        return change


class _ScaleGate:
    """Who is asked about a Scale sees that, and not what it scales."""

    def __init__(self, kind: ServedKind, paths: ScalePaths, gate: Gate) -> None:
        self._kind = kind
        self._paths = paths
        self._gate = gate

    def mutate(self, manifest: Manifest, before: Manifest | None = None, *, unnamed: bool = False) -> Manifest | None:
        wanted = self._gate.mutate(scale_of(self._kind, manifest), before and scale_of(self._kind, before))
        if wanted is None:
            return None
        made: Manifest = decode_json(encode_json(manifest))
        put(made, self._paths.spec_replicas, (wanted.get("spec") or {}).get("replicas", 0))
        return made

    def validate(self, manifest: Manifest, before: Manifest | None = None) -> None:
        self._gate.validate(scale_of(self._kind, manifest), before and scale_of(self._kind, before))

    def delete(self, before: Manifest, options: Manifest, *, dry_run: bool) -> None:
        raise AssertionError("a Scale is not deleted")


def _wanted(request: Request) -> Callable[[Manifest], Manifest]:
    """What a request makes of a Scale."""
    if request.method == "PUT":
        body = check_kind(_SCALE, read_json(request.body, "Scale"), custom=False)
        _decode(body)
        return lambda _: body
    patcher = Patcher(_SERVED, media_type(request), request.body)

    def patched(scale: Manifest) -> Manifest:
        with patcher.decoding():
            wanted = patcher.apply(scale)
            _decode(wanted)
        return wanted

    return patched


def _check_uid(route: Route, given: Any, actual: Any) -> None:
    if given and given != actual:
        resource = route.kind.resource
        named = Resource(resource.group, resource.version, resource.kind, f"{resource.plural}/scale")
        why = f"Precondition failed: UID in precondition: {given}, UID in object meta: {actual}"
        raise conflict(named, route.name, why)


def _of_scale(error: Conflict, paths: ScalePaths) -> Conflict:
    """A conflict about the object's replicas, as one about the scale's."""
    details = error.status.details or StatusDetails()
    causes = [Cause(cause.reason, cause.message, _REPLICAS) for cause in details.causes]
    text = error.status.message.replace(paths.spec_replicas, _REPLICAS)
    return Conflict(text, details=msgspec.structs.replace(details, causes=causes))


def scale_of(kind: ServedKind, manifest: Manifest) -> Manifest:
    """The autoscaling/v1 Scale of an object."""
    paths: ScalePaths | None = kind.scale
    if paths is None:
        raise no_such_resource()
    metadata = manifest["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Manifest = {"replicas": look_up(manifest, paths.status_replicas) or 0}
    selector = look_up(manifest, paths.selector) if paths.selector else None
    if isinstance(selector, dict):
        selector = _selector_text(selector)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in kept if field in metadata},
        "spec": {"replicas": look_up(manifest, paths.spec_replicas) or 0},
        "status": status,
    }


def _selector_text(selector: Manifest) -> str:
    """A selector in one line: a map of labels, or one with `matchLabels` and `matchExpressions`."""
    expressions = selector.get("matchExpressions") or ()
    labels = selector.get("matchLabels") or ({} if expressions or "matchLabels" in selector else selector)
    terms = [(key, f"{key}={value}") for key, value in labels.items()]
    for expression in expressions:
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        terms.append((key, texts.get(expression["operator"], key)))
    return ",".join(text for _, text in sorted(terms, key=lambda term: term[0]))


def look_up(manifest: Manifest, path: str) -> Any:
    value: Any = manifest
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def put(manifest: Manifest, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        manifest = manifest.setdefault(part, {})
    manifest[last] = value

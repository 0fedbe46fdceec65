"""Create, replace, patch, apply and delete: from a request's body to `Objects`, and its answer back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from kfcore.api.meta import Manifest
from kfcore.apiserver import apply
from kfcore.apiserver.apply_checks import check_applied, read_applied
from kfcore.apiserver.bodies import check_kind, media_type, read_json, read_yaml
from kfcore.apiserver.conversion import served, served_bytes
from kfcore.apiserver.deletion import DeleteOptions, parse_options
from kfcore.apiserver.field_validation import FieldValidation
from kfcore.apiserver.gate import Gate
from kfcore.apiserver.identity import check_identity
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.objects import Demand, Objects
from kfcore.apiserver.options import APPLY, DELETE_OPTIONS, dry_run_problem, flag
from kfcore.apiserver.ownership import owner_of
from kfcore.apiserver.patching import Patcher
from kfcore.apiserver.reading import Reading, list_body
from kfcore.apiserver.representation import MEDIA_TYPES, negotiate
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.reviews import Reviews
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import (
    JSON,
    bad_request,
    conflict,
    deleted_status,
    invalid,
    method_not_allowed,
)
from kfcore.apiserver.storage import Key, Stored
from kfcore.client.errors import NotFound, UnsupportedMediaType


def dry_run(request: Request, body: Manifest | None = None) -> bool:
    """Whether nothing is to be stored: the query says so, or (`body`) the options of a delete."""
    value = (body or {}).get("dryRun") or request.query.get("dryRun", "")
    if request.method == "DELETE" and (error := dry_run_problem(value)):
        raise invalid(DELETE_OPTIONS, "", [error])
    return bool(value)


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
                    f"{', '.join(MEDIA_TYPES)}"
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
            request.headers.get("accept", ""),
            request.query.get("includeObject", ""),
            self._objects.clock.now,
            custom=kind.custom,
        )
        if view.plain:
            return Response(status, headers, served_bytes(kind, stored))
        return Response(status, headers, view.one(kind, served(kind, stored)))

    # ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        if route.name or (route.kind.resource.namespaced and not route.namespace):
            raise method_not_allowed()
        manifest, validation = self._read(route.kind, request)
        if route.kind.create_only:
            return self._reviews.answer(route, gate.post(manifest) if gate else manifest, request)
        return self._create(route, request, manifest, validation, gate)

    def _create(
        self, route: Route, request: Request, manifest: Manifest, validation: FieldValidation, gate: Gate | None
    ) -> Response:
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
            gate=gate,
        )
        return self.answer(route.kind, stored, request, 201, validation)

    def creates(self, route: Route) -> bool:
        """Whether a PUT creates: of a few kinds, what is not there."""
        may = self._objects.strategy(route.kind).created_by_update and not route.subresource
        return may and self._objects.collection(route.kind).get(route.namespace, route.name) is None

    def replace(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        if not route.name:
            raise method_not_allowed()
        body, validation = self._read(route.kind, request)
        if isinstance(metadata := body.get("metadata") or {}, dict):
            check_identity(route.kind, route.namespace, route.name, metadata)
        if self.creates(route):
            return self._create(route, request, body, validation, gate)
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
            gate=gate,
        )
        return self.answer(route.kind, stored, request, validation=validation)

    def patch(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        if not route.name:
            raise method_not_allowed()
        if media_type(request) == APPLY:
            return self._apply(route, request, gate)
        patcher = Patcher(route.kind, media_type(request), request.body)
        validation = FieldValidation(request, route.kind, patcher.refusal)
        validation.check_patch(request.body, patcher.patch)

        def change(manifest: Manifest) -> Manifest:
            changed = patcher.apply(manifest)
            validation.check_patched(changed)
            return changed

        with patcher.decoding():
            stored = self._objects.update(
                route.kind,
                route.namespace,
                route.name,
                change,
                subresource=route.subresource,
                dry_run=dry_run(request),
                owner=owner_of(request, self._objects.now()),
                unknown=validation.unknown,
                demand=self._demands(request, route.kind),
                gate=gate,
            )
        return self.answer(route.kind, stored, request, validation=validation)

    def _apply(self, route: Route, request: Request, gate: Gate | None) -> Response:
        kind, query = route.kind, request.query
        validation = FieldValidation(request, kind)
        body = read_applied(kind, route.name, request.body, validation)
        apply.reset(kind, body, route.subresource)
        check_applied(kind, route.namespace, body)
        validation.check_patched(body)
        applier = apply.Applier(
            kind,
            query["fieldManager"],
            force=flag(query, "force"),
            subresource=route.subresource,
            now=self._objects.now(),
        )
        dry, demand = dry_run(request), self._demands(request, kind)
        exists = self._objects.collection(kind).get(route.namespace, route.name) is not None
        if not exists and not route.subresource:
            if uid := body["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise conflict(kind.resource, route.name, why)
            manifest = applier.create(body)
            stored = self._objects.create(
                kind, route.namespace, manifest, dry_run=dry, unknown=validation.unknown, demand=demand, gate=gate
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
            gate=gate,
        )
        return self.answer(kind, stored, request, validation=validation)

    def delete(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        body = read_json(request.body, "DeleteOptions") if request.body.strip() else {}
        if not isinstance(body, dict):
            raise bad_request("the body of a delete must be DeleteOptions")
        options = parse_options(body, dict(request.query))
        dry = dry_run(request, body)
        if not route.name:
            return self._delete_collection(route, request, options, gate, dry=dry)
        if route.subresource:
            raise method_not_allowed()
        kind = route.kind
        done = self._objects.delete(kind, route.namespace, route.name, options, dry_run=dry, gate=gate)
        if done.gone and not self._objects.strategy(kind).returns_deleted:
            return Response(200, dict(JSON), deleted_status(kind.resource, route.name, done.stored.uid))
        return self.answer(kind, done.stored, request)

    def _delete_collection(
        self, route: Route, request: Request, options: DeleteOptions, gate: Gate | None, *, dry: bool
    ) -> Response:
        kind = route.kind
        if "deletecollection" not in kind.verbs or (kind.resource.namespaced and not route.namespace):
            raise method_not_allowed()
        selects = self._reading.selection(kind, request.query)
        chosen = gate.chosen if gate else None
        if chosen is None:
            chosen = [stored for stored in self._objects.collection(kind).select(route.namespace) if selects(stored)]
        done: set[Key] = set()
        if gate is not None:
            gate.chosen, done = chosen, gate.done
        version = self._objects.storage.version
        for stored in chosen:
            if stored.key in done:
                continue
            with suppress(NotFound):  # one that was collected as a dependent of an earlier one
                self._objects.delete(kind, *stored.key, options, dry_run=dry, gate=gate)
            done.add(stored.key)
        return Response(200, dict(JSON), list_body(kind, chosen, {"resourceVersion": str(version)}))

"""The in-process Kubernetes API: `handle` takes a `Request` to the verb that it means and gives the `Response`.

What a verb does is elsewhere: `reading.py` (get, list, watch), `writing.py` (create, update, patch, delete),
`discovery.py` (which kinds there are). Nothing here knows of sockets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import builtin, discovery, shapes
from kfcore.apiserver.addresses import Addresses
from kfcore.apiserver.admission import Admission
from kfcore.apiserver.aggregation import AggregatedRoles
from kfcore.apiserver.authentication import Authentication, User
from kfcore.apiserver.authorization import (
    Authorizer,
    Everything,
    attributes_of,
    check,
    demand,
    user_of,
)
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.apiserver.connecting import CONNECTED, connect_options
from kfcore.apiserver.crd import CustomKinds
from kfcore.apiserver.definitions import crd_strategy
from kfcore.apiserver.escalation import GROUP as RBAC_GROUP
from kfcore.apiserver.gate import Gate
from kfcore.apiserver.gatekeeper import Gatekeeper
from kfcore.apiserver.impersonation import impersonate
from kfcore.apiserver.initial_objects import create_missing
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.logs import PodLogs
from kfcore.apiserver.metrics import GROUP as METRICS_GROUP
from kfcore.apiserver.metrics import Measures, Metrics
from kfcore.apiserver.objects import Demand, Objects
from kfcore.apiserver.openapi import OpenApi
from kfcore.apiserver.options import check_options, flag
from kfcore.apiserver.proxy import connect_service
from kfcore.apiserver.quotas import Quotas
from kfcore.apiserver.reading import Reading
from kfcore.apiserver.representation import Representation, as_yaml, negotiate, prefers_yaml
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.reviews import Reviews
from kfcore.apiserver.routes import Route, find_route
from kfcore.apiserver.status import JSON, bad_request, error_response, method_not_allowed, no_such_resource
from kfcore.apiserver.storage import Change, Collection, Storage
from kfcore.apiserver.strategy import Strategy
from kfcore.apiserver.streaming import PodProcesses
from kfcore.apiserver.subresources import Subresources
from kfcore.apiserver.writing import Writing
from kfcore.client.errors import ApiError
from kfcore.clock import Clock, SystemClock

if TYPE_CHECKING:
    from kfcore.apiserver.journal import Journal

_PLAIN = frozenset({"*/*", "application/json"})
_WATCHED = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)/watch(/.+)")
"""What was a watch before `watch=true` was."""


class ApiServer:
    """The API with its objects, in memory.

    `clock` gives all times, `seed` makes uids and generated names repeatable, `pod_logs` answers `kubectl logs`,
    `pod_processes` exec, attach and port-forward, `measures` what pods and nodes use (None: no metrics.k8s.io).
    `tokens` are users by their bearer tokens, and `authorizer` decides what each may do (`kfcore.apiserver.rbac.RBAC`;
    None: everybody everything).

    `service_accounts`: new pods get a token of theirs, which takes a kubelet to put it there, and accounts
    (`kfcore.apiserver.namespace_contents`). Their tokens are signed with `signing_key`; without it they end with the
    server.

    With `data_dir` the objects are on disk too, from which the next server of that directory has them: nothing is
    answered or shown before it is written. Raises `kfcore.apiserver.database.DataDirectoryError` for one that cannot
    be used.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        pod_logs: PodLogs | None = None,
        pod_processes: PodProcesses | None = None,
        measures: Measures | None = None,
        tokens: Mapping[str, User] | None = None,
        authorizer: Callable[[Objects], Authorizer] | None = None,
        data_dir: Path | None = None,
        service_accounts: bool = False,
        signing_key: bytes | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.kinds = Kinds(builtin_kinds())
        self.storage = Storage()
        self._journal = None if data_dir is None else _journal(self.storage, data_dir)
        self.objects = Objects(self.kinds, self.storage, self.strategy, self.clock, seed)
        self._addresses = Addresses(self.storage.collection("services"), self.objects.draws)
        self._admission = Admission(self.objects, service_accounts=service_accounts)
        self._builtin = builtin.strategies(self._admission, self._addresses)
        self._strategies: dict[Resource, Strategy] = {}
        self.objects.checks.append(Quotas(self.objects).check)
        AggregatedRoles(self.objects)
        self._builtin["customresourcedefinitions.apiextensions.k8s.io"] = crd_strategy(self.objects)
        self.custom = CustomKinds(self.objects)
        self._metrics = Metrics(self.kinds, self.objects, measures) if measures is not None else None
        self._openapi = OpenApi(self.kinds)
        self._reading = Reading(self.objects)
        self._authentication = Authentication(self.objects, tokens or {}, signing_key)
        self._authorizer: Authorizer = Everything()
        reviews = Reviews(self._authentication, lambda: self._authorizer)
        self._writing = Writing(self.objects, self._reading, reviews, self._demands)
        self._subresources = Subresources(self.objects, self._writing, self._authentication, pod_logs, pod_processes)
        connect = partial(connect_service, self.objects, pod_processes)
        self._gatekeeper = Gatekeeper(self.objects, lambda: self._authorizer, connect)
        if self._journal is not None:
            self._recover(self._journal)
        create_missing(self.objects)
        if authorizer is not None:
            self._authorizer = authorizer(self.objects)
        if self._journal is not None:
            self._journal.flush()

    def _recover(self, journal: Journal) -> None:
        """Serve what was stored, and hear of what could not be."""
        self.custom.restore()
        self.objects.garbage.restore()
        self._gatekeeper.refresh()
        self._reading.settle = journal.settle

        def undone(collection: Collection, change: Change) -> None:
            for stream in list(self._reading.watches):
                stream.cut_off()  # it may have taken in what is no more; its client lists again
            self.custom.undone(collection, change)
            self._addresses.forget()
            self._admission.forget()
            self._gatekeeper.refresh()

        journal.on_undone.append(undone)

    def _demands(self, request: Request, kind: ServedKind) -> Demand | None:
        if kind.resource.group != RBAC_GROUP:
            return None
        return partial(self._authorizer.check_grant, user_of(request), kind)

    def strategy(self, kind: ServedKind) -> Strategy:
        if kind.custom:
            return self.custom.strategy(kind)
        found = self._strategies.get(kind.resource)
        if found is None:
            base = self._builtin.get(kind.storage) or builtin.PLAIN
            found = self._strategies[kind.resource] = msgspec.structs.replace(
                base, decode=shapes.decoder(kind.resource)
            )
        return found

    def install_crd(self, manifest: Manifest, *, trusted: bool = False) -> None:
        """Serve a CRD's kind, or the changed CRD's in place of what was served. Raises Invalid for a malformed one.

        `trusted` says that it is well-formed, as `kfcore.api.crd` makes them, and saves looking through its schema.
        """
        self.custom.install(manifest, trusted=trusted)

    def authenticate(self, token: str) -> User | None:
        """Whose a bearer token is; None when nobody's."""
        return self._authentication.authenticate(token)

    async def handle(self, request: Request) -> Response:
        """Answer a request. A client's mistake is an answer too: it never raises for one."""
        try:
            answer = await self._handle(request)
            if self._journal is not None:
                await self._journal.settle()
        except ApiError as error:
            answer = error_response(error)
        except RecursionError:
            answer = error_response(bad_request("the object provided is nested too deeply"))
        if "yaml" in (accept := request.headers.get("accept", "")) and prefers_yaml(accept):
            return _in_yaml(answer)
        return answer

    async def _handle(self, request: Request) -> Response:
        if "/watch/" in request.path and (watched := _WATCHED.fullmatch(request.path)):
            query = {**request.query, "watch": "true"}
            request = msgspec.structs.replace(request, path=watched[1] + watched[2], query=query)
        route = find_route(self.kinds, request.path)
        headers = request.headers
        if "impersonate-user" in headers or "impersonate-group" in headers or "impersonate-uid" in headers:
            request = impersonate(self._authorizer, request)
        check(self._authorizer, request, route)
        if route is None:
            return await self._elsewhere(request)
        if request.query or request.method == "PATCH":
            check_options(request)
        if self._gatekeeper.active and (request.method != "GET" or route.subresource in CONNECTED):
            answer = await self._gated(route, request)
        elif route.subresource and route.subresource != "status":
            return await self._subresources.handle(route, request)
        else:
            answer = self._act(route, request)
        if route.kind.deprecation:
            told = [answer.headers["warning"]] if "warning" in answer.headers else []
            answer.headers["warning"] = ", ".join([*told, f"299 - {json.dumps(route.kind.deprecation)}"])
        return answer

    async def _gated(self, route: Route, request: Request) -> Response:
        """The answer, once the webhooks and policies that there are have let the request pass."""
        if route.subresource in CONNECTED:
            options = connect_options(route, request)
            warnings = await self._gatekeeper.admit(route, request, lambda gate: gate.connect(options))
            answer = await self._subresources.handle(route, request)
            answer.headers.update({"warning": ", ".join(warnings)} if warnings else {})
            return answer
        return await self._gatekeeper.take(route, request, lambda gate: self._act(route, request, gate))

    def _act(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        if route.subresource and route.subresource != "status":
            return self._subresources.act(route, request, gate)
        if route.kind.resource.kind == "Binding" and request.method == "POST" and route.namespace and not route.name:
            return self._subresources.bind_named(route, request, gate)
        if request.method == "GET":
            return self._read(route, request)
        if request.headers.get("accept", "*/*") not in _PLAIN:
            self._view(route, request)  # which is refused before anything is written
        match request.method:
            case "POST":
                return self._writing.create(route, request, gate)
            case "PUT":
                if self._writing.creates(route):  # which takes leave to create, besides that to update
                    demand(self._authorizer, msgspec.structs.replace(attributes_of(request, route), verb="create"))
                return self._writing.replace(route, request, gate)
            case "PATCH":
                return self._writing.patch(route, request, gate)
            case "DELETE":
                return self._writing.delete(route, request, gate)
            case _:
                raise method_not_allowed()

    def _read(self, route: Route, request: Request) -> Response:
        query = request.query
        if "get" not in route.kind.verbs:
            raise method_not_allowed()
        if self._metrics is not None and route.kind.resource.group == METRICS_GROUP:
            return self._metrics.answer(route, request)
        view = self._view(route, request)
        if route.name:
            return self._reading.get(route, query, view)
        if flag(query, "watch"):
            return self._reading.watch(route, query, view)
        return self._reading.listing(route, query, view)

    def _view(self, route: Route, request: Request) -> Representation:
        return negotiate(
            request.headers.get("accept", ""),
            request.query.get("includeObject", ""),
            self.clock.now,
            custom=route.kind.custom,
            listing=not route.name,
        )

    async def _elsewhere(self, request: Request) -> Response:
        found = discovery.answer(self.kinds, request) or await self._openapi.answer(request)
        if found is not None:
            return found
        parts = request.path.split("/")
        known = request.path.startswith("/api/v1/") or (
            len(parts) > 4 and parts[1] == "apis" and self.kinds.in_group(parts[2], parts[3])
        )
        if known:
            raise no_such_resource()
        return Response(404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n")

    async def close(self) -> None:
        """End every watch and forget every timer."""
        for stream in list(self._reading.watches):
            stream.end()
        self.objects.garbage.close()
        if self._journal is not None:
            await self._journal.close()


def _in_yaml(answer: Response) -> Response:
    if not isinstance(answer.body, bytes) or answer.headers.get("content-type") != JSON["content-type"]:
        return answer
    return Response(answer.status, {**answer.headers, "content-type": "application/yaml"}, as_yaml(answer.body))


def _journal(storage: Storage, data_dir: Path) -> Journal:
    from kfcore.apiserver.database import Database  # SQLite is for who asks for it
    from kfcore.apiserver.journal import Journal

    return Journal(storage, Database(data_dir))

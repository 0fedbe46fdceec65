"""The in-process Kubernetes API: `handle` takes a `Request` to the verb that it means and gives the `Response`.

What a verb does is elsewhere: `reading.py` (get, list, watch), `writing.py` (create, update, patch, delete),
`discovery.py` (which kinds there are). Nothing here knows of sockets.
"""

from __future__ import annotations

from dataclasses import replace

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import builtin, discovery, shapes
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.apiserver.crd import CustomKinds, crd_strategy
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.logs import PodLogs
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.openapi import OpenApi
from kfcore.apiserver.reading import Reading
from kfcore.apiserver.representation import negotiate
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route, find_route
from kfcore.apiserver.status import bad_request, error_response, method_not_allowed, no_such_resource
from kfcore.apiserver.storage import Storage
from kfcore.apiserver.strategy import Strategy
from kfcore.apiserver.subresources import Subresources
from kfcore.apiserver.writing import Writing
from kfcore.client.errors import ApiError
from kfcore.clock import Clock, SystemClock

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_TRUE = frozenset({"true", "1", "True"})


class ApiServer:
    """The API with its objects, in memory.

    `clock` gives all times, `seed` makes uids and generated names repeatable, `pod_logs` answers `kubectl logs`.
    """

    def __init__(self, *, clock: Clock | None = None, seed: int | None = None, pod_logs: PodLogs | None = None) -> None:
        self.clock = clock or SystemClock()
        self.kinds = Kinds(builtin_kinds())
        self.storage = Storage()
        self.objects = Objects(self.kinds, self.storage, self.strategy, self.clock, seed)
        self._builtin = builtin.strategies()
        self._strategies: dict[Resource, Strategy] = {}
        self._builtin["customresourcedefinitions.apiextensions.k8s.io"] = crd_strategy(self.objects)
        self.custom = CustomKinds(self.objects)
        self._openapi = OpenApi(self.kinds)
        self._reading = Reading(self.objects)
        self._writing = Writing(self.objects, self._reading)
        self._subresources = Subresources(self.objects, self._writing, pod_logs)
        namespaces = self.kinds.at("", "v1", "namespaces")
        assert namespaces is not None
        for name in NAMESPACES:
            self.objects.create(namespaces, "", {"metadata": {"name": name}})

    def strategy(self, kind: ServedKind) -> Strategy:
        if kind.custom:
            return self.custom.strategy(kind)
        found = self._strategies.get(kind.resource)
        if found is None:
            base = self._builtin.get(kind.storage) or builtin.PLAIN
            found = self._strategies[kind.resource] = replace(base, decode=shapes.decoder(kind.resource))
        return found

    def install_crd(self, manifest: Manifest) -> None:
        """Serve a CRD's kind, or the changed CRD's in place of what was served. Raises Invalid for a malformed one."""
        self.custom.install(manifest)

    async def handle(self, request: Request) -> Response:
        """Answer a request. A client's mistake is an answer too: it never raises for one."""
        try:
            return await self._handle(request)
        except ApiError as error:
            return error_response(error)
        except RecursionError:
            return error_response(bad_request("the object provided is nested too deeply"))

    async def _handle(self, request: Request) -> Response:
        route = find_route(self.kinds, request.path)
        if route is None:
            return await self._elsewhere(request)
        if route.subresource and route.subresource != "status":
            return await self._subresources.handle(route, request)
        match request.method:
            case "GET":
                return self._read(route, request)
            case "POST":
                return self._writing.create(route, request)
            case "PUT":
                return self._writing.replace(route, request)
            case "PATCH":
                return self._writing.patch(route, request)
            case "DELETE":
                return self._writing.delete(route, request)
            case _:
                raise method_not_allowed()

    def _read(self, route: Route, request: Request) -> Response:
        query = request.query
        if "get" not in route.kind.verbs:
            raise method_not_allowed()
        view = negotiate(request.headers.get("accept", ""), query.get("includeObject", ""), self.clock.now)
        if route.name:
            return self._reading.get(route, view)
        if query.get("watch", "") in _TRUE:
            return self._reading.watch(route, query, view)
        return self._reading.listing(route, query, view)

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

"""Where a request to the gateway goes: Services, Ingresses and VirtualServices come in, a `Target` per path goes out.

Of all rules that fit a path the longest wins. Without any rule a Service is found under `/services/<namespace>/<name>/`
(`<name>:<port>` where it has several), and that of a Notebook under `/notebook/<namespace>/<name>/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from kfcore.api.core import Pod as CorePod
from kfcore.api.core import Service as CoreService
from kfcore.api.meta import Manifest, ServerObject, Struct, Unstructured, controller_of, untyped
from kfcore.api.resource import Resource

Ingress = untyped(Resource("networking.k8s.io", "v1", "Ingress", "ingresses", subresources=frozenset({"status"})))
VirtualService = untyped(Resource("networking.istio.io", "v1alpha3", "VirtualService", "virtualservices"))


class RoutedPort(Struct, frozen=True):
    name: str = ""
    port: int = 0
    target_port: int | str | None = None


class RoutedSpec(Struct, frozen=True):
    selector: dict[str, str] = {}
    ports: list[RoutedPort] = []


class RoutedService(ServerObject, frozen=True):
    resource: ClassVar[Resource] = CoreService.resource
    spec: RoutedSpec = RoutedSpec()


class RoutedPod(ServerObject, frozen=True):
    """A pod's address, whether it is ready, and its ports by name."""

    resource: ClassVar[Resource] = CorePod.resource
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Where it can be reached; empty while it cannot."""
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in self.status.get("conditions") or ())
        return str(self.status.get("podIP") or "") if ready and self.metadata.deletion_timestamp is None else ""

    def port(self, name: str) -> int | None:
        for container in self.spec.get("containers") or ():
            for port in container.get("ports") or ():
                if port.get("name") == name:
                    number: int = port["containerPort"]
                    return number
        return None


class Backend(msgspec.Struct, frozen=True):
    """A Service's port, by number or name."""

    namespace: str
    service: str
    port: int | str


class Rule(msgspec.Struct, frozen=True):
    """`prefix` (or with `exact` the very path) goes to `backend`, with `rewrite` in its place. `host` empty: any."""

    prefix: str
    backend: Backend
    exact: bool = False
    host: str = ""
    rewrite: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    def fits(self, host: str, path: str) -> bool:
        if self.host and host not in (self.host, f"{self.host}.localhost"):
            return False
        return path == self.prefix if self.exact else path.startswith(self.prefix)

    def rewritten(self, path: str) -> str:
        if self.rewrite is None:
            return path
        rest = path[len(self.prefix) :]
        if self.rewrite.endswith("/"):
            rest = rest.removeprefix("/")
        return (self.rewrite + rest) or "/"


class Target(msgspec.Struct, frozen=True):
    """Where one request goes."""

    address: str
    port: int
    path: str
    headers: Mapping[str, str]
    backend: Backend


class Objects(Protocol):
    """What is there now."""

    def services(self) -> Iterable[RoutedService]: ...
    def pods(self, namespace: str) -> Iterable[RoutedPod]: ...
    def ingresses(self) -> Iterable[Unstructured]: ...
    def virtual_services(self) -> Iterable[Unstructured]: ...


class NoRoute(Exception):
    """Nothing is at this path."""


class NoPod(Exception):
    """The path leads to a Service behind which no pod is ready."""


class Routes:
    """Answers from what is there at the moment of asking."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def target(self, host: str, path: str) -> Target:
        """Raises `NoRoute` and `NoPod`."""
        fitting = [rule for rule in self.rules() if rule.fits(host, path)]
        if not fitting:
            raise NoRoute(path)
        rule = max(fitting, key=lambda rule: (rule.exact, len(rule.prefix), bool(rule.host)))
        opened = self.open(rule.backend)
        if opened is None:
            backend = rule.backend
            raise NoPod(f"no pod of the Service {backend.namespace}/{backend.service} is ready at port {backend.port}")
        address, port = opened
        return Target(address, port, rule.rewritten(path), rule.headers, rule.backend)

    def open(self, backend: Backend) -> tuple[str, int] | None:
        """The address and port of a ready pod behind a Service's port."""
        service = next(
            (s for s in self._objects.services() if (s.namespace, s.name) == (backend.namespace, backend.service)), None
        )
        if service is None or not service.spec.selector:
            return None
        port = next((p for p in service.spec.ports if backend.port in (p.port, p.name)), None)
        if port is None:
            return None
        wanted = service.spec.selector.items()
        for pod in self._objects.pods(service.namespace):
            if pod.address and wanted <= pod.metadata.labels.items():
                target = port.target_port or port.port
                number = pod.port(target) if isinstance(target, str) else target
                if number is not None:
                    return pod.address, number
        return None

    def rules(self) -> Iterator[Rule]:
        for service in self._objects.services():
            yield from _of_service(service)
        for ingress in self._objects.ingresses():
            yield from _of_ingress(ingress)
        for virtual_service in self._objects.virtual_services():
            yield from _of_virtual_service(virtual_service)


def _of_service(service: RoutedService) -> Iterator[Rule]:
    namespace, name = service.namespace, service.name
    if not service.spec.selector or not service.spec.ports:
        return
    first = Backend(namespace, name, service.spec.ports[0].port)
    owner = controller_of(service)
    if owner is not None and owner.kind == "Notebook":
        yield Rule(f"/notebook/{namespace}/{name}/", first)
    yield Rule(f"/services/{namespace}/{name}/", first, rewrite="/")
    for port in service.spec.ports:
        yield Rule(f"/services/{namespace}/{name}:{port.port}/", Backend(namespace, name, port.port), rewrite="/")


def _of_ingress(ingress: Unstructured) -> Iterator[Rule]:
    spec = ingress.raw.get("spec") or {}
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            if backend := _ingress_backend(ingress.namespace, path.get("backend")):
                yield from _ingress_rules(rule.get("host", ""), path, backend)
    if backend := _ingress_backend(ingress.namespace, spec.get("defaultBackend")):
        yield Rule("/", backend)


def _ingress_rules(host: str, path: Manifest, backend: Backend) -> Iterator[Rule]:
    prefix = path.get("path") or "/"
    if path.get("pathType") == "Exact":
        yield Rule(prefix, backend, exact=True, host=host)
        return
    # A prefix is one of whole segments: /app fits /app and /app/x, not /apple.
    yield Rule(prefix.rstrip("/") + "/", backend, host=host)
    if prefix != "/":
        yield Rule(prefix.rstrip("/"), backend, exact=True, host=host)


def _ingress_backend(namespace: str, backend: Manifest | None) -> Backend | None:
    service = (backend or {}).get("service") or {}
    port = service.get("port") or {}
    number = port.get("number") or port.get("name")
    return Backend(namespace, service["name"], number) if service.get("name") and number else None


def _of_virtual_service(virtual_service: Unstructured) -> Iterator[Rule]:
    spec = virtual_service.raw.get("spec") or {}
    hosts = [host for host in spec.get("hosts") or () if isinstance(host, str)]
    for route in spec.get("http") or ():
        destinations = [entry.get("destination") or {} for entry in route.get("route") or ()]
        if not destinations or not destinations[0].get("host"):
            continue
        backend = _destination(virtual_service.namespace, destinations[0])
        rewrite = (route.get("rewrite") or {}).get("uri")
        headers = ((route.get("headers") or {}).get("request") or {}).get("set") or {}
        matches: list[Manifest] = route.get("match") or [{}]
        for match in matches:
            uri = match.get("uri") or {"prefix": "/"}
            path = uri.get("exact") or uri.get("prefix")
            if isinstance(path, str):
                for host in hosts:
                    yield Rule(path, backend, "exact" in uri, "" if host == "*" else host, rewrite, headers)


def _destination(namespace: str, destination: Manifest) -> Backend:
    name, _, rest = str(destination["host"]).partition(".")
    port = (destination.get("port") or {}).get("number") or 80
    return Backend(rest.partition(".")[0] or namespace, name, port)

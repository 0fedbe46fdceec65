"""`FakeClient`: the real client over the real API server of this process, filled with a test's objects."""

from __future__ import annotations

import copy

from kfcore.api.codec import dump
from kfcore.api.meta import CustomResource, Manifest, Object, registry
from kfcore.api.resource import Resource
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.server import ApiServer
from kfcore.client.rest import RestClient
from kfcore.clock import Clock
from kfcore.testing.clock import FakeClock
from kfcore.testing.faults import Faults
from kfcore.testing.faulty_transport import FaultyTransport
from kfcore.testing.transport import InProcessTransport


class FakeClient(RestClient):
    """A `kfcore.client.Client` whose cluster holds `objects` (typed ones or manifests).

    Every custom kind that a Python type is registered for is served, with the CRD of its type, from its first use on.
    The namespaces of `objects` are created. A `uid`, and with it owner references among them, is kept; statuses too.
    Without a `clock` the time stands still (`client.clock.advance(…)`); `seed` makes uids and generated names repeat.
    What should go wrong, `faults` is told.
    """

    def __init__(
        self, *objects: Object | Manifest, clock: Clock | None = None, seed: int = 0, server: ApiServer | None = None
    ) -> None:
        self.clock = clock or FakeClock()
        self._served: set[str] = set()
        self.server = server or ApiServer(clock=self.clock, seed=seed)
        self._in_process = InProcessTransport(self.server, before=self._serve)
        transport = FaultyTransport(self._in_process, clock=self.clock)
        self.faults: Faults = transport.faults
        super().__init__(transport)
        for obj in objects:
            if not isinstance(obj, dict):
                self._serve(obj.resource.base_path)
            elif isinstance(obj.get("apiVersion"), str):
                self._serve(f"/apis/{obj['apiVersion']}")
            add_object(self.server, obj)

    def _serve(self, path: str) -> None:
        """Serve the registered types of the group and version that `path` begins with."""
        if path.startswith("/api/"):
            return
        group_version = "/".join(path.split("/", 4)[:4])
        if group_version in self._served:
            return
        self._served.add(group_version)
        for kind in registry.types():
            if issubclass(kind, CustomResource) and kind.resource.base_path == group_version:
                serve_type(self.server, kind)

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every call that reached the server; `client.requests.clear()` starts counting anew."""
        return self._in_process.requests


def serve_type(server: ApiServer, kind: type[CustomResource]) -> None:
    """Serve a custom resource's type, if it is not served yet."""
    resource = kind.resource
    if server.kinds.of(resource.api_version, resource.kind) is None:
        from kfcore.api.crd import crd  # here, so that clients without custom kinds need no schema generation

        server.install_crd(crd(kind))


def schemaless_crd(resource: Resource) -> Manifest:
    """A CRD that takes objects of any shape: for kinds of other projects that a test only needs to exist."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.qualified_plural},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "plural": resource.plural,
                "singular": resource.singular,
                "kind": resource.kind,
                "listKind": resource.list_kind,
                "shortNames": list(resource.short_names),
            },
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}} if "status" in resource.subresources else {},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }


def add_object(server: ApiServer, obj: Object | Manifest) -> None:
    """Put an object into the server as it is: with its uid and status, its namespace created when missing."""
    manifest = copy.deepcopy(obj) if isinstance(obj, dict) else dump(obj)
    api_version, kind_name = manifest.get("apiVersion", ""), manifest.get("kind", "")
    if api_version == "apiextensions.k8s.io/v1" and kind_name == "CustomResourceDefinition":
        server.install_crd(manifest)
        return
    kind = server.kinds.of(api_version, kind_name)
    if kind is None:
        raise ValueError(
            f"{api_version} {kind_name} is not served: give FakeClient its CRD first, or import the type of it"
        )
    metadata = {key: value for key, value in manifest.get("metadata", {}).items() if key != "resourceVersion"}
    namespace = metadata.setdefault("namespace", "default") if kind.resource.namespaced else ""
    _ensure_namespace(server, namespace)
    status = manifest.get("status")
    server.objects.create(kind, namespace, {**manifest, "metadata": metadata}, uid=metadata.get("uid") or None)
    if status and kind.status:
        _set_status(server, kind, namespace, metadata["name"], status)


def _ensure_namespace(server: ApiServer, namespace: str) -> None:
    namespaces = server.kinds.at("", "v1", "namespaces")
    assert namespaces is not None
    if namespace and server.objects.collection(namespaces).get("", namespace) is None:
        server.objects.create(namespaces, "", {"metadata": {"name": namespace}})


def _set_status(server: ApiServer, kind: ServedKind, namespace: str, name: str, status: Manifest) -> None:
    def change(current: Manifest) -> Manifest:
        current["status"] = status
        return current

    server.objects.update(kind, namespace, name, change, subresource="status")

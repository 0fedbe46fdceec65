"""Services with a selector → their Endpoints and EndpointSlices, from the pods that the cache holds.

Names are derived, never generated, so that a cache that is behind leads to a repeated write and not to a second slice.
"""

from __future__ import annotations

from contextlib import suppress

from kfcore.api.meta import Manifest, owner_reference
from kfcore.client.errors import AlreadyExists, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.controller.controller import Request, Result
from kfcore_local.workloads.endpoint_sets import (
    Address,
    Ports,
    address_type,
    addresses_by_ports,
    slice_endpoints,
    slice_ports,
    subsets,
)
from kfcore_local.workloads.kinds import Endpoints, EndpointSlice, Service
from kfcore_local.workloads.selector_index import SelectorIndex
from kfcore_local.workloads.templates import short_hash

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SLICE_MANAGER = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
ENDPOINTS_MANAGER = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
HEADLESS = {"service.kubernetes.io/headless": ""}
ENDPOINTS_PER_SLICE = 100


class EndpointsReconciler:
    """Keeps the addresses behind a service: ready ones, those not ready yet, and those on their way out."""

    def __init__(self, client: Client, reader: Reader, index: SelectorIndex) -> None:
        self.client = client
        self.reader = reader
        self.index = index

    async def reconcile(self, request: Request) -> Result:
        try:
            service = await self.reader.get(Service, request.name, request.namespace)
        except NotFound:
            with suppress(NotFound):  # slices go with their owner; Endpoints have none
                await self.client.delete(Endpoints, request.name, request.namespace)
            return Result()
        if not service.spec.selector or service.spec.type == "ExternalName" or service.metadata.deletion_timestamp:
            return Result()
        groups = addresses_by_ports(service, self.index.pods_of(service))
        await self._write_slices(service, groups)
        await self._write_endpoints(service, groups)
        return Result()

    async def _write_slices(self, service: Service, groups: dict[Ports, list[Address]]) -> None:
        wanted = _slices(service, groups)
        present = {item.name: item for item in await self.reader.list_owned(EndpointSlice, service)}
        for name, body in wanted.items():
            current = present.pop(name, None)
            if current is None:
                try:
                    await self.client.create(EndpointSlice, body, service.namespace)
                    continue
                except AlreadyExists:
                    current = await self.client.get(EndpointSlice, name, service.namespace)
            labels = body["metadata"]["labels"]
            as_wanted = (current.endpoints or [], current.ports or [], current.metadata.labels)
            if as_wanted != (body["endpoints"], body["ports"], labels):
                patch = {"endpoints": body["endpoints"], "ports": body["ports"], "metadata": {"labels": labels}}
                await self.client.patch(EndpointSlice, name, service.namespace, patch)
        for item in present.values():
            if SLICE_MANAGER.items() <= item.metadata.labels.items():
                with suppress(NotFound):
                    await self.client.delete(EndpointSlice, item.name, item.namespace)

    async def _write_endpoints(self, service: Service, groups: dict[Ports, list[Address]]) -> None:
        wanted = subsets(groups)
        labels = {**service.metadata.labels, **ENDPOINTS_MANAGER, **_headless(service)}
        try:
            current = await self.client.get(Endpoints, service.name, service.namespace)
        except NotFound:
            metadata = {"name": service.name, "namespace": service.namespace, "labels": labels}
            body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": wanted}
            with suppress(AlreadyExists):
                await self.client.create(Endpoints, body, service.namespace)
            return
        patch: Manifest = {}
        if current.subsets != wanted:
            patch["subsets"] = wanted or None
        if not labels.items() <= current.metadata.labels.items():
            patch["metadata"] = {"labels": labels}
        if patch:
            await self.client.patch(Endpoints, service.name, service.namespace, patch)


def _slices(service: Service, groups: dict[Ports, list[Address]]) -> dict[str, Manifest]:
    """The slices that a service should have, by name; one without endpoints says that there are none."""
    labels = {**service.metadata.labels, SERVICE_NAME_LABEL: service.name, **SLICE_MANAGER, **_headless(service)}
    slices = {}
    for ports, addresses in (groups or {(): []}).items():
        for start in range(0, len(addresses) or 1, ENDPOINTS_PER_SLICE):
            part = addresses[start : start + ENDPOINTS_PER_SLICE]
            number = start // ENDPOINTS_PER_SLICE
            name = f"{service.name}-{short_hash([service.metadata.uid, ports, number])[:5]}"
            slices[name] = {
                "apiVersion": EndpointSlice.resource.api_version,
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "namespace": service.namespace,
                    "labels": labels,
                    "ownerReferences": [owner_reference(service)],
                },
                "addressType": address_type(part),
                "endpoints": slice_endpoints(part),
                "ports": slice_ports(ports),
            }
    return slices


def _headless(service: Service) -> dict[str, str]:
    return HEADLESS if service.spec.cluster_ip == "None" else {}

"""The gang scheduler of one machine, where every group fits: the kinds that gang schedulers bring along, and for
Volcano's groups the word that their pods may be created.
"""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.client.errors import NotFound
from kfcore.client.interface import Client
from kfcore.controller.controller import Request, Result
from kfcore.controller.manager import Manager
from kfcore.jobs.gang import GangScheduler, VolcanoPodGroup

_SPEC_FIELDS = {
    "minMember": {"type": "integer", "format": "int32"},
    "minResources": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
    "priorityClassName": {"type": "string"},
    "queue": {"type": "string"},
    "scheduleTimeoutSeconds": {"type": "integer", "format": "int32"},
}


def pod_group_crd(resource: Resource) -> Manifest:
    """A CRD for the fields that job operators write; the status is the scheduler's own, and may be anything."""
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": {"type": "object", "properties": _SPEC_FIELDS}, "status": status}
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}},
    }
    names = {
        "kind": resource.kind,
        "listKind": resource.list_kind,
        "plural": resource.plural,
        "singular": resource.singular,
        "shortNames": list(resource.short_names),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.qualified_plural},
        "spec": {"group": resource.group, "names": names, "scope": "Namespaced", "versions": [version]},
    }


class Admission:
    """Tells every new group of Volcano's that its pods may be created."""

    def __init__(self, client: Client, manager: Manager) -> None:
        self.client, self.reader = client, manager.cache

    async def reconcile(self, request: Request) -> Result:
        try:
            group = await self.reader.get(VolcanoPodGroup, request.name, request.namespace)
            if (group.raw.get("status") or {}).get("phase", "") in ("", "Pending"):
                body = {"status": {"phase": "Inqueue"}}
                await self.client.patch(VolcanoPodGroup, group.name, group.namespace, body, subresource="status")
        except NotFound:
            pass
        return Result()


def add_gang_scheduler(manager: Manager, scheduler: GangScheduler) -> None:
    """Play this scheduler's part for its groups; its pods are for `kfcore_local.scheduler` to bind."""
    if scheduler.kind is VolcanoPodGroup:
        manager.add_controller(Admission(manager.client, manager), VolcanoPodGroup, name="volcano")

"""Which resource an autoscaler's target is: a built-in kind, one that a plugin brought, or one of a CRD."""

from __future__ import annotations

from kfcore.api.core import CustomResourceDefinition
from kfcore.api.meta import registry, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.client.errors import NotFound
from kfcore.client.interface import Client

DEFINITIONS = untyped(CustomResourceDefinition.resource)


async def find_resource(client: Client, api_version: str, kind: str) -> Resource:
    """Raises `NotFound`."""
    known = [served.resource for served in builtin_kinds()] + [kind.resource for kind in registry.types()]
    for resource in known:
        if (resource.api_version, resource.kind) == (api_version, kind):
            return resource
    group, _, version = api_version.rpartition("/")
    for definition in await client.list(DEFINITIONS):
        spec = definition.raw["spec"]
        if (spec["group"], spec["names"]["kind"]) == (group, kind):
            return Resource(group, version, kind, spec["names"]["plural"], spec.get("scope") == "Namespaced")
    raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"')

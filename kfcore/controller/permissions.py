"""What a controller needs leave for, as it declares it, and the ClusterRole that gives just that: the least that an
operator of these controllers can run with.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kfcore.api.meta import Manifest, Object
from kfcore.api.resource import Resource

READ = ("get", "list", "watch")
GROUP = "rbac.authorization.k8s.io"


class Permission(msgspec.Struct, frozen=True):
    """`verbs` on a resource of an API group (core is empty); `resource` may name a subresource (`pods/status`)."""

    group: str
    resource: str
    verbs: tuple[str, ...]


def on(kind: type[Object] | Resource, *verbs: str, subresource: str = "") -> Permission:
    """Leave for `verbs` on a kind, or on what is served beside it."""
    resource = kind if isinstance(kind, Resource) else kind.resource
    plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
    return Permission(resource.group, plural, verbs)


def cluster_role(name: str, permissions: Iterable[Permission]) -> Manifest:
    """A ClusterRole of these permissions: each resource once, those with the same verbs together, in order of name."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for permission in permissions:
        verbs.setdefault((permission.group, permission.resource), set()).update(permission.verbs)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), wanted in sorted(verbs.items()):
        together.setdefault((group, tuple(sorted(wanted))), []).append(resource)
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": list(wanted)}
        for (group, wanted), resources in together.items()
    ]
    return {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}

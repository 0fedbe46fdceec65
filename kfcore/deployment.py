"""What a cluster needs before `kfcore operator` runs in it as nobody special: a ServiceAccount, the ClusterRole that
the controllers' permissions add up to, and what binds the two. `kfcore rbac` prints it; deploy/rbac.yaml keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kfcore.api.core import Event
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.controller.permissions import GROUP, Permission, cluster_role, on
from kfcore.plugins import Plugin

NAME, NAMESPACE = "kfcore-operator", "kfcore-system"
_TOKEN_REVIEW = Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False)
_ACCESS_REVIEW = Resource("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False)

MANAGER = (
    on(Event, "create", "patch"),
    # Who may read the metrics is asked of the API server.
    on(_TOKEN_REVIEW, "create"),
    on(_ACCESS_REVIEW, "create"),
)
"""What the process needs whatever it runs."""


def operator_rbac(plugins: Sequence[type[Plugin]], *, namespace: str = NAMESPACE) -> list[Manifest]:
    """The objects for an operator of these plugins, in the order to apply them."""
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    lease_rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "patch"]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}},
        cluster_role(NAME, [*MANAGER, *_declared(plugins)]),
        _binding("ClusterRole", account, {"name": NAME}),
        # The Lease of the leader is in the operator's own namespace, and nowhere else.
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "Role",
            "metadata": {"name": NAME, "namespace": namespace},
            "rules": [lease_rule],
        },
        _binding("Role", account, {"name": NAME, "namespace": namespace}),
    ]


def _declared(plugins: Sequence[type[Plugin]]) -> Iterator[Permission]:
    """What the plugins declare; one that declares nothing gets nothing."""
    for plugin in plugins:
        permissions = getattr(plugin, "permissions", None)
        if permissions is not None:
            yield from permissions()


def _binding(role: str, account: Manifest, metadata: Manifest) -> Manifest:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{role}Binding",
        "metadata": metadata,
        "subjects": [account],
        "roleRef": {"apiGroup": GROUP, "kind": role, "name": NAME},
    }

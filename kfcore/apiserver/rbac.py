"""Role-based access control: the roles and bindings in storage decide. `ApiServer(authorizer=RBAC)` enforces them.

The default roles that users of a cluster count on (cluster-admin, admin, edit, view, system:discovery …) are there from
the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.authentication import ACCOUNT_PREFIX, AUTHENTICATED, MASTERS, UNAUTHENTICATED, User
from kfcore.apiserver.authorization import Attributes, Decision, Rules, is_master
from kfcore.apiserver.escalation import GROUP, demand_held
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.objects import Objects

_KINDS = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


class _Rule(msgspec.Struct, frozen=True):
    """One PolicyRule; an empty `names` is every name."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]
    manifest: Manifest

    def covers(self, wanted: Attributes) -> bool:
        if wanted.verb not in self.verbs and "*" not in self.verbs:
            return False
        if wanted.path:
            return any(_path_matches(path, wanted.path) for path in self.paths)
        if self.names and wanted.name not in self.names:
            return False
        if wanted.group not in self.groups and "*" not in self.groups:
            return False
        resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        return (
            resource in self.resources
            or "*" in self.resources
            or (wanted.subresource != "" and f"*/{wanted.subresource}" in self.resources)
        )


class RBAC:
    """Implements `Authorizer` over the roles and bindings of `objects`; creates the default ones."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._rules: dict[tuple[str, str], list[_Rule]] = {}
        self._collections = {}
        for plural in _KINDS:
            kind = objects.kinds.at(GROUP, "v1", plural)
            assert kind is not None
            self._collections[plural] = collection = objects.collection(kind)
            collection.subscribers.append(lambda _: self._rules.clear())
        for plural, manifest in _default_roles():
            kind = objects.kinds.at(GROUP, "v1", plural)
            assert kind is not None
            if self._collections[plural].get("", manifest["metadata"]["name"]) is None:
                objects.create(kind, "", manifest)

    def decide(self, attributes: Attributes) -> Decision:
        if is_master(attributes.user):
            return Decision(True)
        for binding, rule in self._granted(attributes.user, "" if attributes.path else attributes.namespace):
            if rule.covers(attributes):
                return Decision(True, f"RBAC: allowed by {binding}")
        return Decision(False)

    def rules(self, user: User, namespace: str) -> Rules:
        if is_master(user):
            everything: Manifest = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return Rules([everything], [{"verbs": ["*"], "nonResourceURLs": ["*"]}])
        found = [rule for _, rule in self._granted(user, namespace)]
        return Rules(
            [rule.manifest for rule in found if not rule.paths], [rule.manifest for rule in found if rule.paths]
        )

    def role_rules(self, namespace: str, name: str) -> list[Manifest]:
        """The rules of a Role, or (no namespace) of a ClusterRole; none for one that is not there."""
        return [rule.manifest for rule in self._rules_of(namespace, name)]

    def holds(self, attributes: Attributes) -> bool:
        """Whether the user's rules cover what a rule would allow; `*` is covered by `*` alone."""
        granted = self._granted(attributes.user, "" if attributes.path else attributes.namespace)
        return any(rule.covers(attributes) for _, rule in granted)

    def check_grant(self, user: User, kind: ServedKind, manifest: Manifest, before: Manifest | None) -> None:
        demand_held(self, user, kind, manifest, before)

    def _granted(self, user: User, namespace: str) -> Iterator[tuple[str, _Rule]]:
        """What bindings give the user: everywhere, and in `namespace`. Each with a name of the binding."""
        for stored in self._collections["clusterrolebindings"].select():
            if _binds(stored.manifest, user, ""):
                role = stored.manifest["roleRef"]["name"]
                subject = f'ClusterRoleBinding "{stored.key[1]}" of ClusterRole "{role}" to User "{user.name}"'
                for rule in self._rules_of("", role):
                    yield subject, rule
        if not namespace:
            return
        for stored in self._collections["rolebindings"].select(namespace):
            if _binds(stored.manifest, user, namespace):
                reference = stored.manifest["roleRef"]
                of = namespace if reference["kind"] == "Role" else ""
                subject = (
                    f'RoleBinding "{stored.key[1]}/{namespace}" of {reference["kind"]} "{reference["name"]}" '
                    f'to User "{user.name}"'
                )
                for rule in self._rules_of(of, reference["name"]):
                    if not rule.paths:
                        yield subject, rule

    def _rules_of(self, namespace: str, name: str) -> list[_Rule]:
        """The rules of a Role, or (no namespace) of a ClusterRole with what `aggregation.py` wrote to it."""
        known = self._rules.get((namespace, name))
        if known is None:
            stored = self._collections["roles" if namespace else "clusterroles"].get(namespace, name)
            known = [] if stored is None else [_rule(rule) for rule in stored.manifest.get("rules") or ()]
            self._rules[namespace, name] = known
        return known


def _rule(manifest: Manifest) -> _Rule:
    def values(field: str) -> frozenset[str]:
        return frozenset(manifest.get(field) or ())

    paths = tuple(manifest.get("nonResourceURLs") or ())
    return _Rule(values("verbs"), values("apiGroups"), values("resources"), values("resourceNames"), paths, manifest)


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == path


def _binds(binding: Manifest, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User":
                found = name == user.name
            case "Group":
                found = name in user.groups
            case "ServiceAccount":
                found = user.name == f"{ACCOUNT_PREFIX}{subject.get('namespace') or namespace}:{name}"
            case _:
                found = False
        if found:
            return True
    return False


# ── the default roles ────────────────────────────────────────────────────────────────────────────────────────────────

_AGGREGATE = f"{GROUP}/aggregate-to-"
_WORKLOADS: dict[str, list[str]] = {
    "": [
        "configmaps", "endpoints", "persistentvolumeclaims", "pods", "replicationcontrollers",
        "replicationcontrollers/scale", "serviceaccounts", "services",
    ],
    "apps": [
        "daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets",
        "statefulsets/scale",
    ],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}  # fmt: skip
_SEEN: dict[str, list[str]] = {
    "": [
        "bindings", "events", "limitranges", "namespaces", "namespaces/status", "persistentvolumeclaims/status",
        "pods/log", "pods/status", "resourcequotas", "resourcequotas/status", "services/status",
    ],
    "apps": ["controllerrevisions", "daemonsets/status", "deployments/status", "statefulsets/status"],
    "batch": ["cronjobs/status", "jobs/status"],
    "discovery.k8s.io": ["endpointslices"],
}  # fmt: skip


def _rules_for(resources: Mapping[str, list[str]], verbs: list[str]) -> list[Manifest]:
    return [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names in resources.items()]


def _default_roles() -> Iterator[tuple[str, Manifest]]:
    def role(name: str, rules: list[Manifest], **labels: str) -> tuple[str, Manifest]:
        bootstrapping = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        aggregated = {_AGGREGATE + to: value for to, value in labels.items()}
        return "clusterroles", {"metadata": {"name": name, "labels": bootstrapping | aggregated}, "rules": rules}

    def aggregate(name: str, **labels: str) -> tuple[str, Manifest]:
        plural, made = role(name, [], **labels)
        selectors = [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]
        return plural, {**made, "aggregationRule": {"clusterRoleSelectors": selectors}}

    def binding(name: str, *groups: str) -> tuple[str, Manifest]:
        return "clusterrolebindings", {
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
            "subjects": [{"kind": "Group", "apiGroup": GROUP, "name": group} for group in groups],
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        }

    reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    health = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
    discovery = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"]
    yield role(
        "cluster-admin",
        [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    )
    yield role("system:discovery", [{"nonResourceURLs": [*discovery, "/version", "/version/"], "verbs": ["get"]}])
    yield role("system:public-info-viewer", [{"nonResourceURLs": health, "verbs": ["get"]}])
    yield role(
        "system:basic-user",
        [
            {"apiGroups": ["authorization.k8s.io"], "resources": reviews, "verbs": ["create"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
        ],
    )
    yield aggregate("admin")
    yield aggregate("edit", admin="true")
    yield aggregate("view", edit="true")
    roles = [{"apiGroups": [GROUP], "resources": ["rolebindings", "roles"], "verbs": [*_READ, *_WRITE]}]
    yield role("system:aggregate-to-admin", roles, admin="true")
    secrets = [{"apiGroups": [""], "resources": ["secrets"], "verbs": [*_READ, *_WRITE]}]
    connect = {"": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"]}
    eviction = [{"apiGroups": [""], "resources": ["pods/eviction", "serviceaccounts/token"], "verbs": ["create"]}]
    leases = {"coordination.k8s.io": ["leases"]}
    edits = [*secrets, *eviction, *_rules_for(_WORKLOADS, _WRITE), *_rules_for(leases, [*_READ, *_WRITE])]
    edits += _rules_for(connect, ["get", *_WRITE])
    yield role("system:aggregate-to-edit", edits, edit="true")
    views = _rules_for(_WORKLOADS, _READ) + _rules_for(_SEEN, _READ)
    yield role("system:aggregate-to-view", views, view="true")
    yield binding("cluster-admin", MASTERS)
    yield binding("system:discovery", AUTHENTICATED)
    yield binding("system:basic-user", AUTHENTICATED)
    yield binding("system:public-info-viewer", AUTHENTICATED, UNAUTHENTICATED)

"""Nobody grants what they do not have: a role's rules, or those of the role that a binding names, have to be covered by
the rules of whoever writes it, unless they may `escalate` or `bind`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.authentication import User
from kfcore.apiserver.authorization import Attributes, Decision, is_master
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.status import forbidden

GROUP = "rbac.authorization.k8s.io"


class Granting(Protocol):
    """An authorizer that knows rules."""

    def decide(self, attributes: Attributes) -> Decision: ...

    def role_rules(self, namespace: str, name: str) -> list[Manifest]:
        """The rules of a Role, or (no namespace) of a ClusterRole; none for one that is not there."""

    def holds(self, attributes: Attributes) -> bool:
        """Whether the rules given to a user cover what a rule would allow; `*` is covered by `*` alone."""


def demand_held(
    authorizer: Granting, user: User, kind: ServedKind, manifest: Manifest, before: Manifest | None
) -> None:
    """Raises Forbidden for a role or binding that gives more than `user` has."""
    if kind.resource.group != GROUP or is_master(user):
        return
    namespace, name = manifest["metadata"].get("namespace", ""), manifest["metadata"].get("name", "")
    plural = kind.resource.plural
    if plural in ("roles", "clusterroles"):
        if before is not None and before.get("rules") == manifest.get("rules"):
            return
        rules, verb, target = manifest.get("rules") or [], "escalate", Attributes(user, "", GROUP, "v1", plural)
        target = msgspec.structs.replace(target, namespace=namespace, name=name)
    else:
        if before is not None and _gives(before) == _gives(manifest):
            return
        reference = manifest.get("roleRef") or {}
        of, role = namespace if reference.get("kind") == "Role" else "", str(reference.get("name", ""))
        rules, verb = authorizer.role_rules(of, role), "bind"
        target = Attributes(user, "", GROUP, "v1", "roles" if of else "clusterroles", namespace=namespace, name=role)
    if authorizer.decide(msgspec.structs.replace(target, verb=verb)).allowed:
        return
    missing = _described(wanted for wanted in _asked(user, namespace, rules) if not authorizer.holds(wanted))
    if missing:
        groups = " ".join(json.dumps(group) for group in user.groups)
        who = f"user {json.dumps(user.name)} (groups=[{groups}])"
        why = [f"{who} is attempting to grant RBAC permissions not currently held:", *missing]
        raise forbidden(kind.resource, name, "\n".join(why))


def _gives(binding: Manifest) -> tuple[object, object]:
    return binding.get("subjects"), binding.get("roleRef")


def _asked(user: User, namespace: str, rules: Iterable[Manifest]) -> Iterator[Attributes]:
    """Everything that rules allow, one by one."""
    for rule in rules:
        for verb in rule.get("verbs") or ():
            for path in rule.get("nonResourceURLs") or ():
                yield Attributes(user, verb, path=path)
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    for name in rule.get("resourceNames") or ("",):
                        plural, _, sub = resource.partition("/")
                        yield Attributes(user, verb, group, "", plural, sub, namespace, name)


def _described(missing: Iterable[Attributes]) -> list[str]:
    """As the real server lists rules: those of one resource together."""
    verbs: dict[tuple[str, str, str, str], list[str]] = {}
    for one in missing:
        resource = f"{one.resource}/{one.subresource}" if one.subresource else one.resource
        verbs.setdefault((one.path, one.group, resource, one.name), []).append(one.verb)
    return sorted(_compact(*place, found) for place, found in verbs.items())


def _compact(path: str, group: str, resource: str, name: str, verbs: list[str]) -> str:
    parts = (
        [f"NonResourceURLs:[{json.dumps(path)}]"]
        if path
        else [f"APIGroups:[{json.dumps(group)}]", f"Resources:[{json.dumps(resource)}]"]
    )
    if name:
        parts.append(f"ResourceNames:[{json.dumps(name)}]")
    listed = " ".join(json.dumps(verb) for verb in dict.fromkeys(verbs))
    return "{" + ", ".join([*parts, f"Verbs:[{listed}]"]) + "}"

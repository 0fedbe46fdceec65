"""From a URL path to the kind, object and subresource that it names."""

from __future__ import annotations

import msgspec

from kfcore.apiserver.kinds import Kinds, ServedKind

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


class Route(msgspec.Struct, frozen=True):
    """`name` is empty for a collection, `namespace` for a cluster-scoped kind or all namespaces."""

    kind: ServedKind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def find_route(kinds: Kinds, path: str) -> Route | None:
    """None when the path names nothing that is served."""
    parts = path.split("/")
    if len(parts) > 3 and parts[1] == "api":
        group, version, tail = "", parts[2], parts[3:]
    elif len(parts) > 4 and parts[1] == "apis":
        group, version, tail = parts[2], parts[3], parts[4:]
        if not group:
            return None
    else:
        return None
    if tail[-1] == "" and len(tail) > 1:
        tail = tail[:-1]
    namespace = ""
    if (
        tail[0] == "namespaces"
        and len(tail) > 2
        and not (not group and len(tail) == 3 and tail[2] in _NAMESPACE_SUBRESOURCES)
    ):
        namespace, tail = tail[1], tail[2:]
        if not namespace:
            return None
    kind = kinds.at(group, version, tail[0])
    if kind is None or (namespace and not kind.resource.namespaced):
        return None
    if len(tail) == 1:
        return Route(kind, namespace)
    if kind.resource.namespaced and not namespace:
        return None
    if not tail[1] or (len(tail) > 2 and not tail[2]):
        return None
    if len(tail) == 2:
        return Route(kind, namespace, tail[1])
    if kind.subresource(tail[2]) is None or (len(tail) > 3 and tail[2] != "proxy"):
        return None
    return Route(kind, namespace, tail[1], tail[2], "/".join(tail[3:]))

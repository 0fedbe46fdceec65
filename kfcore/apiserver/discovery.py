"""What a client asks before it knows anything: the version, health, and which kinds are served, in the classic form
(one document a group version) and the aggregated one (all groups at once). Reads `Kinds`, touches no object.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.conversion import storage_api_version
from kfcore.apiserver.kinds import Kinds, ServedKind, Subresource
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.status import method_not_allowed

VERSION: Manifest = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+kfcore",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "kfcore/in-process",
}
"""The API level that is followed; the build metadata says that it is kfcore's."""

_HEALTH = frozenset({"healthz", "livez", "readyz"})
_JSON = "application/json"


def answer(kinds: Kinds, request: Request) -> Response | None:
    """The answer to a discovery request; None when the path is not one of discovery's, or names an unknown group."""
    parts = request.path.strip("/").split("/")
    if parts[0] in ("api", "apis") and len(parts) < 4 and request.method != "GET":
        raise method_not_allowed()
    accept = request.headers.get("accept", "")
    match parts:
        case [""]:
            return _json({"paths": _paths(kinds)})
        case ["version"]:
            return _json(VERSION)
        case [health, *_] if health in _HEALTH:
            told = f"[+]ping ok\n{health} check passed\n" if "verbose" in request.query else "ok"
            return Response(200, {"content-type": "text/plain; charset=utf-8"}, told.encode())
        case ["api"]:
            return _aggregated(kinds, [""], accept) or _json(_versions(request))
        case ["apis"]:
            groups = [group for group in kinds.group_versions() if group]
            return _aggregated(kinds, groups, accept) or _json(_group_list(kinds, groups))
        case ["api", version]:
            return _resources(kinds, "", version)
        case ["apis", group]:
            return _json(_group(kinds, group, alone=True)) if group and kinds.in_group(group) else None
        case ["apis", group, version]:
            return _resources(kinds, group, version) if group else None
    return None


def _json(body: Manifest) -> Response:
    return Response(200, {"content-type": _JSON}, encode_json(body))


def _paths(kinds: Kinds) -> list[str]:
    groups = {group: versions for group, versions in kinds.group_versions().items() if group}
    paths = {"/api", "/api/v1", "/apis", "/apis/", "/openapi/v2", "/openapi/v3", "/version"}
    paths |= {f"/{name}" for name in _HEALTH} | {f"/apis/{group}" for group in groups}
    return sorted(paths | {f"/apis/{group}/{version}" for group, versions in groups.items() for version in versions})


def _versions(request: Request) -> Manifest:
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("host", "")}
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}


def _group(kinds: Kinds, group: str, *, alone: bool = False) -> Manifest:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in kinds.group_versions()[group]]
    head = {"kind": "APIGroup", "apiVersion": "v1"} if alone else {}
    return {**head, "name": group, "versions": versions, "preferredVersion": versions[0]}


def _group_list(kinds: Kinds, groups: Iterable[str]) -> Manifest:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(kinds, group) for group in groups]}


def _resources(kinds: Kinds, group: str, version: str) -> Response | None:
    served = _by_plural(kinds.in_group(group, version))
    if not served:
        return None
    body: Manifest = {
        "kind": "APIResourceList",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for kind in served for entry in _entries(kind)],
    }
    if group:  # the core group's list has never said its own apiVersion
        body = {"kind": body["kind"], "apiVersion": "v1", **body}
    return _json(body)


def _by_plural(kinds: Iterable[ServedKind]) -> list[ServedKind]:
    return sorted(kinds, key=lambda kind: kind.resource.plural)


def _entries(kind: ServedKind) -> Iterable[Manifest]:
    resource = kind.resource
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(kind.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if not kind.create_only:
        entry["storageVersionHash"] = _storage_version_hash(storage_api_version(kind), resource.kind)
    yield entry
    for sub in kind.subresources:
        yield {
            "name": f"{resource.plural}/{sub.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            **({} if _same_group(kind, sub) else {"group": sub.group, "version": sub.version}),
            "kind": sub.kind,
            "verbs": list(sub.verbs),
        }


@lru_cache(maxsize=512)
def _storage_version_hash(api_version: str, kind: str) -> str:
    """Which version of a kind is stored, for clients that migrate objects: equal where the version is."""
    group, _, version = api_version.rpartition("/")
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()


def _same_group(kind: ServedKind, sub: Subresource) -> bool:
    return (sub.group, sub.version) == (kind.resource.group, kind.resource.version)


def _aggregated(kinds: Kinds, groups: Iterable[str], accept: str) -> Response | None:
    """The aggregated form, in the newest version that the client reads; None when it asks for the classic one."""
    for version in ("v2", "v2beta1"):
        media_type = f"{_JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if media_type not in accept.replace(" ", ""):
            continue
        items = []
        for group in groups:
            versions = [
                {
                    "version": group_version,
                    "resources": [_aggregated_kind(kind) for kind in _by_plural(kinds.in_group(group, group_version))],
                    "freshness": "Current",
                }
                for group_version in kinds.group_versions().get(group, ())
            ]
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
        body = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
        return Response(200, {"content-type": media_type, "vary": "Accept"}, encode_json(body))
    return None


def _aggregated_kind(kind: ServedKind) -> Manifest:
    resource = kind.resource
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(kind.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for sub in kind.subresources
        ]
    return entry

"""What a request wants, as admission sees it: the operation, the object as it is and as it would be, and who asks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.authentication import User, user_info
from kfcore.apiserver.conversion import converted
from kfcore.apiserver.kinds import ServedKind
from kfcore.client.errors import StatusDetails

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class AdmissionAttributes(msgspec.Struct, frozen=True):
    """`kind` is what the URL names. `object` is None of a deletion, `old` of a creation. `namespace` of a Namespace
    that there is is its own name.
    """

    operation: str
    kind: ServedKind
    user: User
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    object: Manifest | None = None
    old: Manifest | None = None
    options: Manifest | None = None
    dry_run: bool = False

    def with_object(self, manifest: Manifest) -> AdmissionAttributes:
        return msgspec.structs.replace(self, object=manifest)

    def as_of(self, kind: ServedKind) -> AdmissionAttributes:
        """The same in another version of the kind."""
        if kind is self.kind or self.subresource not in ("", "status"):
            return msgspec.structs.replace(self, kind=kind)
        return msgspec.structs.replace(
            self,
            kind=kind,
            object=None if self.object is None else converted(self.kind, kind, self.object),
            old=None if self.old is None else converted(self.kind, kind, self.old),
        )

    def request(self, asked: ServedKind) -> Manifest:
        """The `request` of an AdmissionReview, without its uid, as one for `asked` gets it."""
        shown = self.as_of(asked)
        request: Manifest = {"kind": shown.object_kind, "resource": _place(asked.resource)}
        if self.subresource:
            request["subResource"] = self.subresource
        request["requestKind"] = self.object_kind
        request["requestResource"] = _place(self.kind.resource)
        if self.subresource:
            request["requestSubResource"] = self.subresource
        for field, value in (("name", self.name), ("namespace", self.namespace)):
            if value:
                request[field] = value
        return {
            **request,
            "operation": self.operation,
            "userInfo": user_info(self.user),
            "object": shown.object,
            "oldObject": shown.old,
            "dryRun": self.dry_run,
            "options": self.options,
        }

    @property
    def object_kind(self) -> Manifest:
        """Group, version and kind of the object: those of the subresource, where that has its own."""
        served = self.kind.subresource(self.subresource) if self.subresource else None
        if served is not None:
            return {"group": served.group, "version": served.version, "kind": served.kind}
        resource = self.kind.resource
        return {"group": resource.group, "version": resource.version, "kind": resource.kind}

    @property
    def shown_name(self) -> str:
        """The name that a refusal shows."""
        metadata = (self.object or {}).get("metadata") or {}
        return self.name or metadata.get("name") or metadata.get("generateName") or "Unknown"

    def forbids(self, why: str) -> tuple[str, StatusDetails]:
        """Message and details of a refusal by the server itself."""
        resource, name = self.kind.resource, self.shown_name
        details = StatusDetails(name=name, group=resource.group, kind=resource.plural)
        return f'{resource.qualified_plural} "{name}" is forbidden: {why}', details


def _place(resource: Resource) -> Manifest:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def write_options(kind: str, query: Mapping[str, str]) -> Manifest:
    """The options of a create or an update, as its query has them."""
    options: Manifest = {"kind": f"{kind}Options", "apiVersion": "meta.k8s.io/v1"}
    if query.get("dryRun"):
        options["dryRun"] = [query["dryRun"]]
    for field in ("fieldManager", "fieldValidation"):
        if query.get(field):
            options[field] = query[field]
    return options

"""Whether an object is the one that the URL names, by its name and its namespace, and the one that is there now."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.status import bad_request, conflict, invalid, invalid_value
from kfcore.apiserver.storage import Stored


def check_identity(kind: ServedKind, namespace: str, name: str, metadata: Manifest) -> None:
    """Raises BadRequest for another object's `metadata`, which is given the namespace of the URL."""
    given = metadata.get("name")
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    place = metadata.get("namespace")
    if kind.resource.namespaced and place and place != namespace:
        raise bad_request(
            f"the namespace of the object ({place}) does not match the namespace on the request ({namespace})"
        )
    _put_in(kind, namespace, metadata)


def check_namespace(kind: ServedKind, namespace: str, metadata: Manifest) -> None:
    """Raises BadRequest for a new object of another namespace; one of a kind without namespaces loses its own."""
    if kind.resource.namespaced and metadata.get("namespace", "") not in ("", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    _put_in(kind, namespace, metadata)


def check_current(
    kind: ServedKind, metadata: Manifest, previous: Stored, *, replaces: bool, unconditional: bool
) -> None:
    """Raises Conflict for a change of another object than `previous`, or of an earlier version of it, and Invalid for
    one that does not say of which version, where it has to (not `unconditional`).
    """
    resource = kind.resource
    namespace, name = previous.key
    version = metadata.get("resourceVersion")
    if replaces and (uid := metadata.get("uid")) not in (None, previous.uid):
        place = "/".join(filter(None, ("/registry", resource.qualified_plural, namespace, name)))
        raise conflict(
            resource,
            name,
            f"StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {previous.uid}",
        )
    if not version or version == "0":
        if not unconditional:
            error = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource, name, [error], by_plural=True)
    elif version != str(previous.version):
        raise conflict(resource, name)


def _put_in(kind: ServedKind, namespace: str, metadata: Manifest) -> None:
    if kind.resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)

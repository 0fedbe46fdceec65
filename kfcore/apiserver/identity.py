"""Whether an object is the one that the URL names: by its name, and by its namespace where its kind has one."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.status import bad_request


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


def _put_in(kind: ServedKind, namespace: str, metadata: Manifest) -> None:
    if kind.resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)

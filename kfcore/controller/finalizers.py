"""Finalizers: names in an object's metadata that keep it, after it was asked to go, until who put them there is done
outside of the cluster and takes them out. An object comes in as it was read, and goes out as it is then.
"""

from __future__ import annotations

from typing import TypeVar

from kfcore.api.meta import Object
from kfcore.client.interface import Client

T = TypeVar("T", bound=Object)


async def add_finalizer(client: Client, obj: T, finalizer: str) -> T:
    """Have the API server keep `obj` until `remove_finalizer`: before the first thing is made that must be cleaned up.

    Sends nothing when it is there, or when the object is going already, since none may be added then. Raises
    `Conflict` when somebody changed the object since it was read: the next try starts from there.
    """
    if finalizer in obj.metadata.finalizers or obj.metadata.deletion_timestamp is not None:
        return obj
    return await _write(client, obj, [*obj.metadata.finalizers, finalizer])


async def remove_finalizer(client: Client, obj: T, finalizer: str) -> T:
    """Let `obj` go, as far as this finalizer kept it; sends nothing when it is not there. Raises as `add_finalizer`."""
    if finalizer not in obj.metadata.finalizers:
        return obj
    return await _write(client, obj, [name for name in obj.metadata.finalizers if name != finalizer])


async def _write(client: Client, obj: T, finalizers: list[str]) -> T:
    """A patch replaces the whole list: with the version that was read, it takes no one else's finalizer away."""
    metadata = {"finalizers": finalizers, "resourceVersion": obj.metadata.resource_version}
    return await client.patch(type(obj), obj.metadata.name, obj.metadata.namespace or None, {"metadata": metadata})

"""What the workload controllers ask of pods: which are active, ready, available; which belong to an owner; and creating
several of them without a storm.

Dependents are listed from the API server, not the cache: the server is in this process, and a list that already holds
the last reconcile's pods needs no bookkeeping of expected ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import to_builtins

from kfcore.api.meta import ServerObject, controller_of, owner_reference
from kfcore.client.errors import ApiError, Conflict, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.client.selectors import LabelSelector
from kfcore_local.workloads.kinds import Pod, created_at

RETRY_SECONDS = 15.0
"""After which something that the server refused is tried again; an event and a condition have told the user of it."""

D = TypeVar("D", bound=ServerObject)
T = TypeVar("T")


def is_terminating(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Counts as one of the wanted replicas."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ending(pod: Pod) -> bool:
    """Told to go, and not done yet."""
    return is_terminating(pod) and not is_finished(pod)


def ready_since(pod: Pod) -> datetime | None:
    """When the pod's Ready condition became true; None while it is not."""
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.status == "True":
            return condition.last_transition_time or created_at(pod.metadata)
    return None


def is_ready(pod: Pod) -> bool:
    return ready_since(pod) is not None


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready for at least `min_ready_seconds`."""
    since = ready_since(pod)
    return since is not None and (not min_ready_seconds or now - since >= timedelta(seconds=min_ready_seconds))


def seconds_to_available(pods: Sequence[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """Until the next of the ready pods becomes available, None when none will by waiting alone."""
    waits = [
        (since + timedelta(seconds=min_ready_seconds) - now).total_seconds()
        for pod in pods
        if (since := ready_since(pod)) and not is_available(pod, min_ready_seconds, now)
    ]
    return min(waits, default=None)


async def claim(
    client: Client,
    reader: Reader,
    kind: type[D],
    owner: ServerObject,
    selector: LabelSelector,
    may_adopt: Callable[[D], bool],
) -> list[D]:
    """The dependents of `owner`: those that it controls and that match its selector.

    A matching object without a controller is adopted, one that no longer matches is let go.
    """
    owned: list[D] = []
    deleting = owner.metadata.deletion_timestamp is not None
    asked = False
    for obj in await client.list(kind, owner.namespace, label_selector=selector):
        controller = controller_of(obj)
        if controller is not None:
            if controller.uid == owner.metadata.uid:
                owned.append(obj)
        elif not (deleting or obj.metadata.deletion_timestamp) and may_adopt(obj):
            if not asked:  # of the server: what a cached owner that is no more adopts would go with it
                asked, deleting = True, not await _is_there(client, owner)
                if deleting:
                    continue
            adopted = await _set_controller(client, kind, obj, owner)
            owned += [adopted] if adopted else []
    if not deleting:
        for obj in await reader.list_owned(kind, owner):
            if not selector.matches(obj.metadata.labels):
                await _set_controller(client, kind, obj, None)
    return owned


async def _is_there(client: Client, owner: ServerObject) -> bool:
    try:
        found = await client.get(type(owner), owner.name, owner.namespace)
    except NotFound:
        return False
    return found.metadata.uid == owner.metadata.uid and found.metadata.deletion_timestamp is None


async def _set_controller(client: Client, kind: type[D], obj: D, owner: ServerObject | None) -> D | None:
    """Adopt `obj`, or with no owner release it; None when it is gone or changed meanwhile (its event will tell)."""
    references = [to_builtins(reference) for reference in obj.metadata.owner_references if not reference.controller]
    if owner is not None:
        references.append(owner_reference(owner))
    body = {"metadata": {"resourceVersion": obj.metadata.resource_version, "ownerReferences": references or None}}
    try:
        return await client.patch(kind, obj.name, obj.namespace, body)
    except (NotFound, Conflict):
        return None


async def in_slow_start(count: int, create: Callable[[int], Awaitable[T]]) -> tuple[list[T], ApiError | None]:
    """Create `count` objects in batches of 1, 2, 4 …, until one is refused: what was created, and the refusal.

    A namespace that refuses the first pod is not asked for a thousand more.
    """
    created: list[T] = []
    size, start = 1, 0
    while start < count:
        batch = range(start, min(start + size, count))
        results = await asyncio.gather(*(create(index) for index in batch), return_exceptions=True)
        failure: ApiError | None = None
        for result in results:
            if isinstance(result, ApiError):
                failure = failure or result
            elif isinstance(result, BaseException):
                raise result
            else:
                created.append(result)
        if failure:
            return created, failure
        start, size = batch.stop, size * 2
    return created, None

"""What a controller may ask of an API server: the `Client` protocol, and `Reader`, the part a cache answers too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from kfcore.api.meta import Manifest, Object
from kfcore.client.selectors import FieldSelector, LabelSelector

T = TypeVar("T", bound=Object)


class PatchType(StrEnum):
    """The media type of a patch body."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class Propagation(StrEnum):
    """What a delete does to dependents."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class Preconditions(msgspec.Struct, frozen=True):
    """A delete or update that must hit this very object: a mismatch is answered with `Conflict`."""

    uid: str | None = None
    resource_version: str | None = None


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One change. A BOOKMARK carries only metadata.resourceVersion; errors are raised, never yielded."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


class ObjectList(list[T], Generic[T]):
    """The objects of one list call, and where a watch continues from."""

    def __init__(self, items: Iterable[T] = (), *, resource_version: str = "", continue_token: str = "") -> None:
        super().__init__(items)
        self.resource_version = resource_version
        self.continue_token = continue_token


class Reader(Protocol):
    """Read access to objects, by a client (the server's present state) or a cache (a recent one, without a request)."""

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """One object. Raises `NotFound`."""

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: LabelSelector | str | None = None,
        field_selector: FieldSelector | str | None = None,
    ) -> ObjectList[T]:
        """All objects of a kind, in a namespace or (None) in all; sorted by namespace and name."""

    async def list_owned(
        self, kind: type[T], owner: Object, *, label_selector: LabelSelector | str | None = None
    ) -> ObjectList[T]:
        """The objects in `owner`'s namespace whose controller reference has its uid."""


class Client(Reader, Protocol):
    """Everything that kfcore asks of an API server. Failures are `kfcore.client.errors`."""

    async def create(
        self, kind: type[T], body: T | Manifest, namespace: str | None = None, *, dry_run: bool = False
    ) -> T:
        """Create an object from itself or its manifest; returns it as the server stored it, read as `kind`.

        The namespace is the argument's, else the body's, else `default` (a cluster-scoped kind has none).
        """

    async def update(self, obj: T, *, subresource: str | None = None, dry_run: bool = False) -> T:
        """Replace an object that was read as a whole (a custom resource or untyped), never a projection.

        Raises `Conflict` when it changed since, and TypeError for a Struct, whose other fields would be lost.
        """

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str | None,
        body: Manifest | list[Any],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> T: ...

    async def apply(
        self,
        kind: type[T],
        body: T | Manifest,
        namespace: str | None = None,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> T:
        """Server-side apply. Raises `Conflict` when another manager owns a field and `force` is off."""

    async def delete(
        self,
        kind: type[Object],
        name: str,
        namespace: str | None = None,
        *,
        preconditions: Preconditions | None = None,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        dry_run: bool = False,
    ) -> None: ...

    async def delete_collection(
        self,
        kind: type[Object],
        namespace: str | None = None,
        *,
        label_selector: LabelSelector | str | None = None,
        field_selector: FieldSelector | str | None = None,
        propagation: Propagation | None = None,
        dry_run: bool = False,
    ) -> None:
        """Delete every object of a kind that the selectors match, in a namespace (None: `default`)."""

    async def subresource(
        self,
        method: str,
        kind: type[Object],
        name: str,
        namespace: str | None,
        subresource: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
    ) -> bytes:
        """Call a subresource that has an object or a text of its own (`scale`, `eviction`, `log`, `binding`); its raw
        answer.
        """

    def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: LabelSelector | str | None = None,
        field_selector: FieldSelector | str | None = None,
        send_initial_events: bool = False,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes from `resource_version` on, until the server ends the stream (the iteration then ends).

        Raises `Gone` when the version is too old, and `ConnectionFailed` when the connection breaks. Close the iterator
        (`contextlib.aclosing`) to stop watching.
        """

    async def close(self) -> None:
        """Release connections."""

"""The informers of a manager, and reading from them: `Cache` answers what `Reader` asks, without a request.

It decodes into the type asked for, so two types of one kind (projections) are two informers; the same type is one,
whoever asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
import structlog
from pydantic import ValidationError

from kfcore.api.codec import dump, load
from kfcore.api.meta import Object, Unstructured
from kfcore.cache.informer import Informer
from kfcore.cache.reflector import EVERYTHING, PATIENT, Patience, Selection
from kfcore.cache.store import OWNER, IndexFunction
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.interface import Client, ObjectList
from kfcore.client.selectors import FieldSelector, LabelSelector
from kfcore.clock import Clock, SystemClock

T = TypeVar("T", bound=Object)

log = structlog.get_logger(__name__)


class CacheNotSynced(Exception):
    """A deadline passed before every kind was listed; the message says which were not, and why."""


class Cache:
    """A `Reader` that answers from memory.

    `namespaces` limits it (None: all); `selections` limits single kinds. A kind is watched from its first use on; `run`
    must be running for anything to arrive. With `streaming_list` off, no server is asked to stream its lists.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock | None = None,
        namespaces: Sequence[str] | None = None,
        *,
        selections: Mapping[type[Object], Selection] | None = None,
        resync_seconds: float | None = None,
        patience: Patience = PATIENT,
        streaming_list: bool = True,
    ) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._namespaces = namespaces
        self._selections = dict(selections or {})
        self._resync_seconds = resync_seconds
        self._patience = patience
        self._streaming_list = streaming_list
        self._informers: dict[type[Object], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def informer(self, kind: type[T]) -> Informer[T]:
        """The informer of a type, shared by all who ask."""
        if existing := self._informers.get(kind):
            return cast("Informer[T]", existing)
        informer = Informer(
            self._client,
            kind,
            clock=self._clock,
            namespaces=self._namespaces,
            selection=self._selections.get(kind, EVERYTHING),
            resync_seconds=self._resync_seconds,
            patience=self._patience,
            streaming_list=self._streaming_list,
        )
        self._informers[kind] = informer
        if self._group:
            self._start(informer)
        return informer

    def select(self, kind: type[T], selection: Selection) -> None:
        """Keep only some objects of a type, for all who read it. Raises ValueError once it is watched."""
        if kind in self._informers:
            raise ValueError(f"{kind.__name__} is watched already: select before anyone asks for it")
        self._selections[kind] = selection

    def add_index(self, kind: type[T], name: str, function: IndexFunction[T]) -> None:
        """Let `by_index` find objects by the values that `function` gives them.

        An object for which it raises is in no such index, and the log says why.
        """

        def values(obj: T) -> Sequence[str]:
            try:
                return () if _is_invalid(obj, kind) else function(obj)
            except Exception:  # an author's function: one object's failure must not be the others'
                log.exception("cache.index_failed", index=name, kind=kind.resource.kind, object=obj.key)
                return ()

        self.informer(kind).store.add_index(name, values)

    async def run(self) -> None:
        """Keep every informer going, those asked for later included."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for informer in self._informers.values():
                    self._start(informer)
                await asyncio.Event().wait()  # later informers join the group; it ends by cancellation
        finally:
            self._group = None

    def _start(self, informer: Informer[Any]) -> None:
        assert self._group is not None
        self._group.create_task(informer.run(), name=f"informer {informer.kind.__name__}")

    async def wait_for_sync(self, timeout: float | None = None) -> None:
        """Wait until every kind has been listed. Raises `CacheNotSynced` after `timeout` seconds."""
        try:
            async with self._clock.timeout(timeout):
                for informer in list(self._informers.values()):
                    await informer.wait_for_sync()
        except TimeoutError as error:
            raise CacheNotSynced(self._why_not_synced(timeout or 0)) from error

    def _why_not_synced(self, seconds: float) -> str:
        lines = [
            f"{informer.kind.resource.qualified_plural}{f' of namespace {where}' if where else ''}: {_explain(error)}"
            for informer in self._informers.values()
            for where, error in informer.missing
        ]
        return f"after {seconds:g} seconds these kinds could not be listed: " + "; ".join(lines)

    # ── Reader ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """The object as it was last seen. Shared: not to be changed.

        Raises `NotFound`, and `InvalidObject` for one that cannot be read as `kind`.
        """
        informer = await self._synced_informer(kind)
        obj = informer.store.get((namespace or "default") if kind.resource.namespaced else "", name)
        if obj is None:
            raise NotFound(f'{kind.resource.qualified_plural} "{name}" not found in the cache of {namespace or "all"}')
        if _is_invalid(obj, kind):
            _raise_invalid(cast("Unstructured", obj), kind)
        return obj

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: LabelSelector | str | None = None,
        field_selector: FieldSelector | str | None = None,
    ) -> ObjectList[T]:
        informer = await self._synced_informer(kind)
        return _select(kind, informer, informer.store.list(namespace), label_selector, field_selector)

    async def list_owned(
        self, kind: type[T], owner: Object, *, label_selector: LabelSelector | str | None = None
    ) -> ObjectList[T]:
        informer = await self._synced_informer(kind)
        owned = informer.store.by_index(OWNER, owner.metadata.uid)
        return _select(kind, informer, owned, label_selector, None)

    async def by_index(self, kind: type[T], index: str, value: str) -> ObjectList[T]:
        """The objects that an index added with `add_index` has under `value`."""
        informer = await self._synced_informer(kind)
        return _select(kind, informer, informer.store.by_index(index, value), None, None)

    async def _synced_informer(self, kind: type[T]) -> Informer[T]:
        informer = self._informers.get(kind)
        if informer is None or not informer.synced:
            if self._group is None:
                raise RuntimeError(f"cannot read {kind.resource.kind} from a cache that is not running: start it first")
            informer = self.informer(kind)
            await informer.wait_for_sync()
        return cast("Informer[T]", informer)


def _select(
    kind: type[T],
    informer: Informer[T],
    objects: Iterable[T],
    labels: LabelSelector | str | None,
    fields: FieldSelector | str | None,
) -> ObjectList[T]:
    chosen = [obj for obj in objects if not _is_invalid(obj, kind)]
    if labels:
        label_selector = LabelSelector.parse(labels) if isinstance(labels, str) else labels
        chosen = [obj for obj in chosen if label_selector.matches(obj.metadata.labels)]
    if fields:
        field_selector = FieldSelector.parse(fields) if isinstance(fields, str) else fields
        chosen = [obj for obj in chosen if _fields_match(field_selector, obj)]
    chosen.sort(key=lambda obj: (obj.metadata.namespace, obj.metadata.name))
    return ObjectList(chosen, resource_version=informer.resource_version)


def _fields_match(selector: FieldSelector, obj: Object) -> bool:
    manifest = dump(obj)

    def value_of(path: str) -> str:
        value: Any = manifest
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return "" if value is None else str(value)

    return selector.matches(value_of)


def _is_invalid(obj: Object, kind: type[Object]) -> bool:
    return isinstance(obj, Unstructured) and not issubclass(kind, Unstructured)


def _raise_invalid(obj: Unstructured, kind: type[Object]) -> None:
    try:
        load(kind, obj.raw)
    except (ValidationError, msgspec.ValidationError) as error:
        raise InvalidObject(kind, obj.raw, error) from error


def _explain(error: Exception | None) -> str:
    if error is None:
        return "no answer yet"
    if isinstance(error, NotFound):
        return "the server does not know this kind (is its CustomResourceDefinition installed?)"
    return f"{type(error).__name__}: {error}"

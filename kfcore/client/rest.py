"""The Kubernetes REST conventions over any `Transport`: a typed call becomes a request, the answer an object or a typed
error. It doesn't know how bytes travel, and doesn't try twice (`kfcore.client.retry` does).
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from pydantic import ValidationError

from kfcore.api.codec import (
    TypedList,
    decode,
    decode_json,
    decode_list,
    decode_watch_event,
    dump,
    encode_json,
    list_decoder,
)
from kfcore.api.meta import Manifest, Object, ServerObject, untyped
from kfcore.client.errors import (
    Gone,
    InvalidObject,
    MalformedAnswer,
    Status,
    error_from_response,
    error_from_status,
)
from kfcore.client.interface import ObjectList, PatchType, Preconditions, Propagation, WatchEvent
from kfcore.client.selectors import FieldSelector, LabelSelector
from kfcore.client.transport import Request, Response, Transport

T = TypeVar("T", bound=Object)

APPLY = "application/apply-patch+yaml"
PAGE_SIZE = 500

_decode_status = msgspec.json.Decoder(Status).decode


class RestClient:
    """Implements `kfcore.client.interface.Client`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        path = kind.resource.path(_namespace(kind, namespace), name)
        return _decode(kind, await self._call(Request("GET", path)))

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: LabelSelector | str | None = None,
        field_selector: FieldSelector | str | None = None,
    ) -> ObjectList[T]:
        """Reads in pages. When a page's token has expired meanwhile, starts again without pages, as one snapshot."""
        query = _selectors(label_selector, field_selector)
        path = kind.resource.path(namespace)
        try:
            return await self._list_pages(kind, path, {**query, "limit": str(PAGE_SIZE)})
        except Gone:
            return await self._list_pages(kind, path, query)

    async def _list_pages(self, kind: type[T], path: str, query: dict[str, str]) -> ObjectList[T]:
        items: builtins.list[T] = []
        resource_version = ""
        while True:
            page = _decode_list(kind, await self._call(Request("GET", path, query)))
            items += page.items
            resource_version = resource_version or page.metadata.resource_version
            if not page.metadata.continue_:
                break
            query = {**query, "continue": page.metadata.continue_}
        items.sort(key=_sort_key)
        return ObjectList(items, resource_version=resource_version)

    async def list_owned(
        self, kind: type[T], owner: Object, *, label_selector: LabelSelector | str | None = None
    ) -> ObjectList[T]:
        everything = await self.list(kind, owner.namespace or None, label_selector=label_selector)
        uid = owner.metadata.uid
        owned = [obj for obj in everything if _controller_uid(obj) == uid]
        return ObjectList(owned, resource_version=everything.resource_version)

    async def watch(
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
        query = {"watch": "true", "allowWatchBookmarks": "true", **_selectors(label_selector, field_selector)}
        if resource_version:
            query["resourceVersion"] = resource_version
        if send_initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        if timeout_seconds is not None:
            query["timeoutSeconds"] = str(timeout_seconds)
        request = Request("GET", kind.resource.path(namespace), query)
        decode_line = _event_decoder(kind)
        async with self.transport.stream(request) as (response, lines):
            _check(request, response)
            async for line in lines:
                if not line:
                    continue
                yield decode_line(line)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(
        self, kind: type[T], body: T | Manifest, namespace: str | None = None, *, dry_run: bool = False
    ) -> T:
        manifest = _manifest(kind, body)
        path = kind.resource.path(_namespace(kind, namespace or manifest.get("metadata", {}).get("namespace")))
        answer = await self._call(Request("POST", path, _dry_run(dry_run), encode_json(manifest)))
        return _decode(kind, answer)

    async def update(self, obj: T, *, subresource: str | None = None, dry_run: bool = False) -> T:
        if isinstance(obj, ServerObject):
            raise TypeError(
                f"cannot update {obj.resource.kind} {obj.key} from a Struct: the fields that "
                f"{type(obj).__name__} leaves out would be lost; use patch"
            )
        kind = type(obj)
        path = kind.resource.path(_namespace(kind, obj.namespace), obj.name, subresource)
        return _decode(kind, await self._call(Request("PUT", path, _dry_run(dry_run), encode_json(dump(obj)))))

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str | None,
        body: Manifest | builtins.list[Any],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> T:
        path = kind.resource.path(_namespace(kind, namespace), name, subresource)
        request = Request("PATCH", path, _dry_run(dry_run), encode_json(body), patch_type.value)
        return _decode(kind, await self._call(request))

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
        manifest = _manifest(kind, body)
        metadata = manifest.get("metadata", {})
        path = kind.resource.path(
            _namespace(kind, namespace or metadata.get("namespace")), metadata.get("name", ""), subresource
        )
        query = {"fieldManager": field_manager, "force": str(force).lower(), **_dry_run(dry_run)}
        return _decode(kind, await self._call(Request("PATCH", path, query, encode_json(manifest), APPLY)))

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
    ) -> None:
        path = kind.resource.path(_namespace(kind, namespace), name)
        options = _delete_options(preconditions, propagation, grace_period_seconds, dry_run)
        await self._call(Request("DELETE", path, {}, options))

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
        path = kind.resource.path(_namespace(kind, namespace))
        options = _delete_options(None, propagation, None, dry_run)
        await self._call(Request("DELETE", path, _selectors(label_selector, field_selector), options))

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
        """Call a subresource that has an object or a text of its own (`scale`, `eviction`, `log`); its raw answer."""
        path = kind.resource.path(_namespace(kind, namespace), name, subresource)
        return await self._call(Request(method, path, query or {}, None if body is None else encode_json(body)))

    async def close(self) -> None:
        await self.transport.close()

    async def _call(self, request: Request) -> bytes:
        response = await self.transport.send(request)
        _check(request, response)
        return response.body


def _check(request: Request, response: Response) -> None:
    if response.status >= 400:
        error = error_from_response(response.status, response.body, retry_after=_retry_after(response))
        error.add_note(f"the request was {request.method} {request.path}")
        raise error


def _retry_after(response: Response) -> str | None:
    for name, value in response.headers.items():
        if name.lower() == "retry-after":
            return value
    return None


def _decode(kind: type[T], body: bytes | msgspec.Raw) -> T:
    try:
        return decode(kind, body)
    except (msgspec.ValidationError, ValidationError) as error:
        raise InvalidObject(kind, decode_json(body), error) from error
    except msgspec.DecodeError as error:
        raise MalformedAnswer(f"{kind.resource.kind}: {error}", bytes(body)) from error


@cache
def _event_decoder(kind: type[T]) -> Callable[[bytes], WatchEvent[T]]:
    """The function that reads a line of a watch, and raises what an ERROR line carries."""

    def decode_in_parts(line: bytes) -> WatchEvent[T]:
        try:
            event = decode_watch_event(line)
            failure = _decode_status(event.object) if event.type == "ERROR" else None
        except msgspec.DecodeError as error:
            raise MalformedAnswer(f"watch of {kind.resource.qualified_plural}: {error}", line) from error
        if failure:
            raise error_from_status(failure)
        obj: Any
        if event.type == "BOOKMARK":
            obj = untyped(kind.resource)(decode_json(event.object))  # metadata only, which the kind may refuse
        elif event.type in ("ADDED", "MODIFIED", "DELETED"):
            obj = _decode(kind, event.object)
        else:
            raise MalformedAnswer(f"watch of {kind.resource.qualified_plural}: event type {event.type!r}", line)
        return WatchEvent(cast("Any", event.type), obj)

    if not issubclass(kind, ServerObject):
        return decode_in_parts
    decode_at_once = msgspec.json.Decoder(WatchEvent[kind]).decode  # type: ignore[valid-type]

    def decode_line(line: bytes) -> WatchEvent[T]:
        try:
            return cast("WatchEvent[T]", decode_at_once(line))
        except msgspec.DecodeError:
            return decode_in_parts(line)

    return decode_line


def _decode_list(kind: type[T], body: bytes) -> TypedList[T]:
    """A page of a list: in one pass, or item by item where a pass can't, or where it fails and must say which item."""
    if issubclass(kind, ServerObject):
        try:
            return cast("TypedList[T]", list_decoder(kind)(body))
        except msgspec.DecodeError:
            pass
    try:
        page = decode_list(body)
    except msgspec.DecodeError as error:
        raise MalformedAnswer(f"list: {error}", body) from error
    return TypedList(page.metadata, [_decode(kind, item) for item in page.items])


def _manifest(kind: type[Object], body: Object | Manifest) -> Manifest:
    manifest = body if isinstance(body, dict) else dump(body)
    if "apiVersion" in manifest and "kind" in manifest:
        return manifest
    return {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, **manifest}


def _namespace(kind: type[Object], namespace: str | None) -> str | None:
    return (namespace or "default") if kind.resource.namespaced else None


def _selectors(labels: LabelSelector | str | None, fields: FieldSelector | str | None) -> dict[str, str]:
    query = {}
    if labels:
        query["labelSelector"] = str(labels)
    if fields:
        query["fieldSelector"] = str(fields)
    return query


def _dry_run(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _delete_options(
    preconditions: Preconditions | None,
    propagation: Propagation | None,
    grace_period_seconds: int | None,
    dry_run: bool,
) -> bytes:
    """The body of a delete. A server that finds a body takes no option from the query, so all of them are here."""
    options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if preconditions:
        expected = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
        options["preconditions"] = {field: value for field, value in expected.items() if value is not None}
    if propagation:
        options["propagationPolicy"] = propagation.value
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    if dry_run:
        options["dryRun"] = ["All"]
    return encode_json(options)


def _controller_uid(obj: Object) -> str | None:
    for reference in obj.metadata.owner_references:
        if reference.controller:
            return reference.uid
    return None


def _sort_key(obj: Object) -> tuple[str, str]:
    metadata = obj.metadata
    return metadata.namespace, metadata.name

"""Bytes to objects and back: the one place where JSON becomes a Struct, a custom resource or an untyped object."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec

from kfcore.api.meta import CustomResource, Manifest, Object, ServerObject, Unstructured

T = TypeVar("T", bound=Object)

_encoder = msgspec.json.Encoder()
encode_json = _encoder.encode
decode_json = msgspec.json.Decoder().decode


class ListMeta(msgspec.Struct, rename="camel", frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class RawList(msgspec.Struct, frozen=True):
    """A list response whose items are not decoded yet."""

    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] = []


class TypedList(msgspec.Struct, Generic[T], frozen=True):
    """A list response with its items."""

    metadata: ListMeta = ListMeta()
    items: list[T] = []


class RawWatchEvent(msgspec.Struct, frozen=True):
    """A line of a watch stream whose object is not decoded yet."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


decode_list = msgspec.json.Decoder(RawList).decode
decode_watch_event = msgspec.json.Decoder(RawWatchEvent).decode


@cache
def list_decoder(kind: type[T]) -> Callable[[bytes], TypedList[T]]:
    """The function that decodes a list of Structs in one pass."""
    return cast("Callable[[bytes], TypedList[T]]", msgspec.json.Decoder(TypedList[kind]).decode)  # type: ignore[valid-type]


@cache
def decoder(kind: type[T]) -> Callable[[bytes | memoryview | msgspec.Raw], T]:
    """The function that decodes one JSON object into `kind`.

    It raises msgspec.DecodeError (Structs, untyped) or pydantic.ValidationError (custom resources).
    """
    if issubclass(kind, CustomResource):
        validate = kind.model_validate_json
        return cast("Callable[[bytes | memoryview | msgspec.Raw], T]", lambda data: validate(bytes(data)))
    if issubclass(kind, Unstructured):
        return cast("Callable[[bytes | memoryview | msgspec.Raw], T]", lambda data: kind(decode_json(data)))
    return cast("Callable[[bytes | memoryview | msgspec.Raw], T]", msgspec.json.Decoder(kind).decode)


def decode(kind: type[T], data: bytes | msgspec.Raw) -> T:
    return cast("T", decoder(kind)(data))


def load(kind: type[T], manifest: Manifest) -> T:
    """A manifest as an object of `kind`. Raises msgspec.ValidationError or pydantic.ValidationError."""
    if issubclass(kind, CustomResource):
        return kind.model_validate(manifest)
    if issubclass(kind, Unstructured):
        return kind(manifest)
    return msgspec.convert(manifest, kind)


def dump(obj: Object) -> Manifest:
    """An object as a manifest. For custom resources `load(kind, dump(x)) == x`, unknown fields included."""
    body: Manifest
    if isinstance(obj, CustomResource):
        body = obj.model_dump(mode="json", by_alias=True, exclude_unset=True)
    elif isinstance(obj, Unstructured):
        return obj.raw
    elif isinstance(obj, ServerObject):
        body = cast("dict[str, Any]", msgspec.to_builtins(obj))
    else:
        raise TypeError(f"cannot encode {type(obj).__name__}: expected a ServerObject, CustomResource or Unstructured")
    return {**body, "apiVersion": obj.resource.api_version, "kind": obj.resource.kind}


def encode(obj: Object) -> bytes:
    """An object as the JSON body of a request."""
    return encode_json(dump(obj))

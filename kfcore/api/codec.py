"""Bytes to objects and back: the one place where JSON becomes a Struct, a custom resource or an untyped object."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec
from pydantic import BaseModel

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
    """An object as a manifest. For custom resources `load(kind, dump(x)) == x`, unknown fields included.

    A field that was never set is left out while it has its default, and one that is None by default while it is None:
    an API server refuses null where the type of the field is another.
    """
    body: Manifest
    if isinstance(obj, CustomResource):
        body = obj.model_dump(mode="json", by_alias=True)
        _leave_out_defaults(obj, body)
    elif isinstance(obj, Unstructured):
        return obj.raw
    elif isinstance(obj, ServerObject):
        body = cast("dict[str, Any]", msgspec.to_builtins(obj))
    else:
        raise TypeError(f"cannot encode {type(obj).__name__}: expected a ServerObject, CustomResource or Unstructured")
    return {**body, "apiVersion": obj.resource.api_version, "kind": obj.resource.kind}


def _leave_out_defaults(model: BaseModel, body: Any) -> None:
    """Take out of `body`, what pydantic made of `model`, what nobody said. What was changed in place counts as said,
    though pydantic does not notice: a condition appended to a status that was empty, a field of it.
    """
    if not isinstance(body, dict):  # of a serializer of its own
        return
    for name, field in type(model).model_fields.items():
        key, value = field.serialization_alias or field.alias or name, getattr(model, name)
        if value is None and field.default is None:
            body.pop(key, None)
        elif name in model.model_fields_set or value != field.get_default(
            call_default_factory=True, validated_data=model.__dict__
        ):
            _leave_out_defaults_within(value, body.get(key))
        else:
            body.pop(key, None)


def _leave_out_defaults_within(value: Any, body: Any) -> None:
    if isinstance(value, BaseModel):
        _leave_out_defaults(value, body)
    elif isinstance(value, dict | list | tuple) and isinstance(body, dict | list):
        items = value.values() if isinstance(value, dict) else value
        for item, part in zip(items, body.values() if isinstance(body, dict) else body, strict=True):
            _leave_out_defaults_within(item, part)


def encode(obj: Object) -> bytes:
    """An object as the JSON body of a request."""
    return encode_json(dump(obj))

"""Kubernetes' protobuf bodies to JSON. kubectl sends what its own subcommands build (`create namespace`, `create job`,
`auth can-i`) in this form and has no other, so that the kinds it builds are read here; answers are always JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest, rfc3339
from kfcore.apiserver.protobuf_messages import MESSAGES, SERVER_WRITTEN
from kfcore.client.errors import BadRequest, UnsupportedMediaType

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str
    keep_zero: bool


def read_object(body: bytes) -> Manifest:
    """The object of a request body of `MEDIA_TYPE`.

    Raises BadRequest for what is not one, UnsupportedMediaType for a kind or a field that is not read here: a client
    that can send JSON can send it.
    """
    if not body.startswith(_MAGIC):
        raise BadRequest("the body is not a Kubernetes protobuf message")
    try:
        envelope = dict(_parts(body[len(_MAGIC) :]))
        identity = dict(_parts(envelope[1]))
        api_version, kind = identity[1].decode(), identity[2].decode()
        message = next((name for name in (f"{api_version}.{kind}", kind) if name in MESSAGES), None)
        if message is None:
            raise UnsupportedMediaType(f"{kind} cannot be read as protobuf: send it as application/json")
        return {"apiVersion": api_version, "kind": kind, **_message(message, envelope.get(2, b""))}
    except (IndexError, KeyError, AttributeError, TypeError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadRequest(f"the body is not a Kubernetes protobuf message: {error!r}") from error


@cache
def _fields(message: str) -> dict[int, _Field]:
    fields = {}
    for entry in MESSAGES[message].split():
        number, name, *type_ = entry.split(":")
        text = type_[0] if type_ else "s"
        fields[int(number)] = _Field(name, text.rstrip("!"), text.endswith("!"))
    return fields


def _message(message: str, data: bytes) -> Manifest:
    if message in SERVER_WRITTEN:
        return {}
    fields = _fields(message)
    made: Manifest = {}
    for number, raw in _parts(data):
        field = fields.get(number)
        if field is None:
            raise UnsupportedMediaType(f"field {number} of {message} cannot be read as protobuf: send JSON")
        if field.type.startswith("[]"):
            made.setdefault(field.name, []).append(_value(field.type[2:], raw))
        elif field.type.startswith("{}"):
            entry = dict(_parts(raw))
            key = entry.get(1, b"").decode()
            made.setdefault(field.name, {})[key] = _value(field.type[2:], entry.get(2, b""))
        elif field.name == "+":
            made |= _message(field.type, raw)
        else:
            value = _value(field.type, raw)
            if value or field.keep_zero or isinstance(value, dict):
                made[field.name] = value
    return made


def _value(type_: str, raw: Any) -> Any:
    match type_:
        case "s":
            return raw.decode()
        case "i":
            return raw - (1 << 64) if raw >= 1 << 63 else raw
        case "?":
            return bool(raw)
        case "b":
            return base64.b64encode(raw).decode()
        case "q":
            return dict(_parts(raw)).get(1, b"").decode()
        case "t":
            seconds = dict(_parts(raw)).get(1, 0)
            return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None
        case "j":
            return decode_json(dict(_parts(raw)).get(1, b"{}"))
        case "I":
            parts = dict(_parts(raw))
            return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    return _message(type_, raw)


def _parts(data: bytes) -> Iterator[tuple[int, Any]]:
    """A message's fields as (number, value): bytes for what has a length, an integer otherwise."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            if position + length > end:
                raise IndexError("a field is cut off")
            yield number, data[position : position + length]
            position += length
        else:
            raise TypeError(f"wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("an integer is too long")

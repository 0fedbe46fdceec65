"""Kubernetes' protobuf bodies to JSON. kubectl sends what its own subcommands build (`create namespace`, `create job`,
`auth can-i`) in this form and has no other, so that the kinds it builds are read here; answers are always JSON.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest, rfc3339
from kfcore.apiserver.protobuf_messages import MESSAGES, SERVER_WRITTEN
from kfcore.apiserver.protobuf_wire import fields
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
        envelope = dict(fields(body[len(_MAGIC) :]))
        identity = dict(fields(envelope[1]))
        api_version, kind = identity[1].decode(), identity[2].decode()
        message = next((name for name in (f"{api_version}.{kind}", kind) if name in MESSAGES), None)
        if message is None:
            raise UnsupportedMediaType(f"{kind} cannot be read as protobuf: send it as application/json")
        return {"apiVersion": api_version, "kind": kind, **_message(message, envelope.get(2, b""))}
    except (IndexError, KeyError, AttributeError, TypeError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadRequest(f"the body is not a Kubernetes protobuf message: {error!r}") from error


@cache
def _fields(message: str) -> dict[int, _Field]:
    known = {}
    for entry in MESSAGES[message].split():
        number, name, *type_ = entry.split(":")
        text = type_[0] if type_ else "s"
        known[int(number)] = _Field(name, text.rstrip("!"), text.endswith("!"))
    return known


def _message(message: str, data: bytes) -> Manifest:
    if message in SERVER_WRITTEN:
        return {}
    known = _fields(message)
    made: Manifest = {}
    for number, raw in fields(data):
        field = known.get(number)
        if field is None:
            raise UnsupportedMediaType(f"field {number} of {message} cannot be read as protobuf: send JSON")
        if field.type.startswith("[]"):
            made.setdefault(field.name, []).append(_value(field.type[2:], raw))
        elif field.type.startswith("{}"):
            entry = dict(fields(raw))
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
            return dict(fields(raw)).get(1, b"").decode()
        case "t":
            seconds = dict(fields(raw)).get(1, 0)
            return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None
        case "j":
            return decode_json(dict(fields(raw)).get(1, b"{}"))
        case "I":
            parts = dict(fields(raw))
            return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    return _message(type_, raw)

"""A Swagger document as the protobuf message that kubectl reads (`openapi.v2.Document` of the OpenAPI project): only
the fields that our documents have.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_SCHEMA_TEXTS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_SCHEMA_DOUBLES = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_SCHEMA_WHOLE = {
    "exclusiveMaximum": 8, "exclusiveMinimum": 10, "maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15,
    "uniqueItems": 16, "maxProperties": 17, "minProperties": 18,
}  # fmt: skip


def encode_document(document: Manifest) -> bytes:
    info = document["info"]
    paths = [_named(path, _path_item(item)) for path, item in document["paths"].items()]
    definitions = [_named(name, _schema(schema)) for name, schema in document["definitions"].items()]
    return b"".join([
        _text(1, document["swagger"]),
        _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
        _bytes(8, b"".join(_bytes(2, path) for path in paths)),
        _bytes(9, b"".join(_bytes(1, definition) for definition in definitions)),
    ])  # fmt: skip


def _path_item(item: Manifest) -> bytes:
    return b"".join(_bytes(_METHODS[method], _operation(operation)) for method, operation in item.items())


def _operation(operation: Manifest) -> bytes:
    responses = [
        _named(code, _bytes(1, _text(1, answer["description"]) + _bytes(2, _bytes(1, _schema(answer["schema"])))))
        for code, answer in operation["responses"].items()
    ]
    return b"".join([
        *(_text(6, produced) for produced in operation["produces"]),
        *(_text(7, consumed) for consumed in operation.get("consumes") or ()),
        *(_bytes(8, _bytes(1, _parameter(parameter))) for parameter in operation.get("parameters") or ()),
        _bytes(9, b"".join(_bytes(1, response) for response in responses)),
        *_extensions(13, operation),
    ])  # fmt: skip


def _parameter(parameter: Manifest) -> bytes:
    if parameter["in"] == "body":
        body = _text(2, parameter["name"]) + _text(3, "body") + _whole(4, 1) + _bytes(5, _schema(parameter["schema"]))
        return _bytes(1, body)
    return _bytes(2, _bytes(3, _text(2, "query") + _text(4, parameter["name"]) + _text(6, parameter["type"])))


def _schema(schema: Manifest) -> bytes:
    parts: list[bytes] = []
    for key, value in schema.items():
        if number := _SCHEMA_TEXTS.get(key):
            parts.append(_text(number, value))
        elif number := _SCHEMA_WHOLE.get(key):
            parts.append(_whole(number, int(value)))
        elif number := _SCHEMA_DOUBLES.get(key):
            parts.append(_double(number, value))
        elif key == "default":
            parts.append(_bytes(5, _any(value)))
        elif key == "required":
            parts += [_text(19, name) for name in value]
        elif key == "enum":
            parts += [_bytes(20, _any(choice)) for choice in value]
        elif key == "additionalProperties":
            parts.append(_bytes(21, _bytes(1, _schema(value)) if isinstance(value, dict) else _whole(2, int(value))))
        elif key == "type":
            parts.append(_bytes(22, _text(1, value)))
        elif key == "items" and isinstance(value, dict):
            parts.append(_bytes(23, _bytes(1, _schema(value))))
        elif key == "properties":
            inner = [_named(name, _schema(property_)) for name, property_ in value.items()]
            parts.append(_bytes(25, b"".join(_bytes(1, entry) for entry in inner)))
    return b"".join([*parts, *_extensions(31, schema)])


def _extensions(number: int, holder: Manifest) -> Iterable[bytes]:
    return (_bytes(number, _named(key, _any(value))) for key, value in holder.items() if key.startswith("x-"))


def _any(value: Any) -> bytes:
    return _bytes(2, encode_json(value))  # as YAML, of which JSON is a part


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _bytes(2, value)


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value & (1 << 64) - 1)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)

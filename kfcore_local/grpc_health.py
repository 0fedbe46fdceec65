"""Asking a server how it is by grpc.health.v1, over a connection that is there: one call of HTTP/2, written by hand, so
that probes need no gRPC library. A service's name goes in, the status that it answers comes out.

The protocol: https://grpc.io/docs/guides/health-checking and RFC 9113. What the server compresses (its headers) is not
needed: the answer is the message, and where there is none the server has refused.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x9
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_LARGEST_FRAME = 1 << 14
_PATH = b"/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class NoHealth(Exception):
    """The server answers, but not with a health status; the message says what a user can look for."""


async def check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> str:
    """The status of `service` (empty: of the whole server), such as SERVING. Raises NoHealth and OSError."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    writer.write(
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, _headers(authority))
        + _frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message)
    )
    await writer.drain()
    answer = b""
    async for kind, flags, stream, payload in _frames(reader):
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            await writer.drain()
        elif kind == _GOAWAY or (kind == _RST_STREAM and stream == 1):
            break
        elif kind == _DATA and stream == 1:
            answer += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
        if stream == 1 and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            break
    if len(answer) < 5:
        asked = f" of the service {service!r}" if service else ""
        raise NoHealth(f"the server gives no health{asked}: does it implement the grpc.health.v1.Health protocol?")
    return _status(answer[5:])


def _headers(authority: str) -> bytes:
    """HPACK without its tables and codes: names and values as they are, but for two that have a number."""
    block = b"\x83\x86"  # :method POST, :scheme http
    for name, value in (
        (b":path", _PATH),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"kube-probe/kfcore"),
    ):
        block += b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return block


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of each frame until the connection ends. Raises NoHealth for another protocol."""
    while True:
        try:
            header = await reader.readexactly(9)
            length, kind, flags, stream = int.from_bytes(header[:3], "big"), *struct.unpack(">BBI", header[3:])
            if length > _LARGEST_FRAME or kind > _CONTINUATION:
                raise NoHealth("the server does not speak HTTP/2, as gRPC does")
            payload = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return
        yield kind, flags, stream & 0x7FFFFFFF, payload


def _varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _status(message: bytes) -> str:
    """Field 1 of a HealthCheckResponse; it is left out when it is 0."""
    number = message[1] if len(message) > 1 and message[0] == 0x08 else 0
    return _STATUSES[number] if number < len(_STATUSES) else str(number)

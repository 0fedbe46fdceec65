"""As much of SPDY/3.1 as kubectl speaks: frames in and out, and their compressed headers. Bytes only; what the streams
mean is `tunnel.py`'s and `spdy_connection.py`'s.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
CANCEL = 5
FRAME_LIMIT = 1 << 20
_HEADER_LIMIT = 64 * 1024
_CONTROL = 0x8003 << 16

# The protocol's own dictionary, from which both sides compress: common header names, each after its length, and values.
_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_VALUES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(name)) + name.replace("_", " ").encode() for name in _NAMES.split())
    + _VALUES.encode()
)


class SpdyError(Exception):
    """What came is not SPDY/3.1."""


class Frame(msgspec.Struct, frozen=True):
    """A control frame of `type`, or (None) data of a stream. `headers` are those of a SYN_STREAM."""

    type: int | None
    stream: int
    flags: int = 0
    data: bytes = b""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Reader:
    """Bytes in any pieces to frames."""

    def __init__(self) -> None:
        self._buffer = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            head, length = struct.unpack(">II", self._buffer[:8])
            flags, length = length >> 24, length & 0xFFFFFF
            if length > FRAME_LIMIT:
                raise SpdyError(f"a frame of {length} bytes is too long")
            if len(self._buffer) < 8 + length:
                return
            body, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            if not head & 0x80000000:
                yield Frame(None, head, flags, body)
            elif head & 0xFFFF0000 != _CONTROL:
                raise SpdyError("only version 3 of SPDY is spoken")
            elif (frame := self._control(head & 0xFFFF, flags, body)) is not None:
                yield frame

    def _control(self, type_: int, flags: int, body: bytes) -> Frame | None:
        if type_ in (SYN_STREAM, RST_STREAM, PING, GOAWAY) and len(body) >= 4:
            number = int.from_bytes(body[:4]) & (0xFFFFFFFF if type_ == PING else 0x7FFFFFFF)
            headers = self._headers(body[10:]) if type_ == SYN_STREAM else {}
            return Frame(type_, number, flags, body[4:], headers)
        return None  # settings, windows: nothing here depends on them

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _HEADER_LIMIT)
            (count,) = struct.unpack_from(">I", text)
            position, words = 4, []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", text, position)
                words.append(text[position + 4 : position + 4 + length].decode())
                position += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"headers that cannot be read: {error}") from error
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}


class Writer:
    """Frames to bytes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def reply(self, stream: int) -> bytes:
        """A SYN_REPLY without headers."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_REPLY, struct.pack(">I", stream) + block)


def data_frame(stream: int, data: bytes, *, last: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if last else 0) << 24 | len(data)) + data


def ping_frame(number: int) -> bytes:
    return _control(PING, struct.pack(">I", number))


def goaway_frame() -> bytes:
    """The end of a session in which nothing went wrong."""
    return _control(GOAWAY, struct.pack(">II", 0, 0))


def reset_frame(stream: int, status: int = CANCEL) -> bytes:
    return _control(RST_STREAM, struct.pack(">II", stream, status))


def _control(type_: int, body: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | type_, len(body)) + body

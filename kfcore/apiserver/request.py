"""What goes into the in-process API and what comes out of it, free of any transport: `ApiServer.handle` takes a
`Request` and gives a `Response`. HTTP (`http.py`) and `kfcore.testing.InProcessTransport` build and unpack them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

GOODBYE_SECONDS = 300.0
"""How long the client of a conversation that is over may take to read the rest of it, and to hang up: who closes on one
that has not read all takes it away from him.
"""


class Request(msgspec.Struct, frozen=True):
    """One call. `path` is percent-decoded and without the query; header names are lower-case.

    `query` has one value a name; `raw_query` is the text, for the few parameters that repeat (a command's words).
    `user` is who calls, and `groups` what they belong to; `uid` and `extra` are what else is known of them.
    """

    method: str
    path: str
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    user: str = ""
    groups: tuple[str, ...] = ()
    raw_query: str = ""
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)


class Socket(Protocol):
    """An open WebSocket. `protocol` is the subprotocol agreed on, empty for none."""

    @property
    def protocol(self) -> str: ...

    async def receive(self) -> bytes | None:
        """The next message; None when the other side has gone."""

    async def send(self, message: bytes) -> None:
        """Raises ConnectionError when the other side has gone."""


class Upgrade(msgspec.Struct, frozen=True):
    """A conversation over a WebSocket, with the subprotocols that it can be held in, the best first. `channels` are
    those that a client must have opened before it begins, where channels are opened one by one.
    """

    protocols: tuple[str, ...]
    converse: Callable[[Socket], Awaitable[None]]
    channels: frozenset[int] = frozenset()


class Response(msgspec.Struct, frozen=True):
    """One answer. A watch's or a followed log's body is an async iterator of chunks; whoever stops reading it early
    closes it (`aclose`), which ends the watch. `upgrade` is what a client that asked for a WebSocket gets instead.
    """

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]
    upgrade: Upgrade | None = None

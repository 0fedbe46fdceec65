"""How a request reaches an API server. `ClusterClient` sends it over HTTP; `kfcore.testing.FakeClient` hands it to the
in-process API. Everything else about a call (paths, bodies, decoding) is `kfcore.client.rest`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


class Response(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Transport(Protocol):
    """Raises `ConnectionFailed` when there is no answer; an answer of any status is returned."""

    async def send(self, request: Request) -> Response: ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]:
        """Open a response that goes on.

        Of a failure, the response holds the whole body. Of a success it holds nothing: the iterator yields complete
        lines of any length without their line feed; an incomplete last line is dropped.
        """

    async def close(self) -> None: ...

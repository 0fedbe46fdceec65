"""What goes into the in-process API and what comes out of it, free of any transport: `ApiServer.handle` takes a
`Request` and gives a `Response`. HTTP (`http.py`) and `kfcore.testing.InProcessTransport` build and unpack them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `path` is percent-decoded and without the query; header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. A watch's or a followed log's body is an async iterator of chunks; whoever stops reading it early
    closes it (`aclose`), which ends the watch.
    """

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]

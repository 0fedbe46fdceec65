"""One request to an API server of this process, and its answer as JSON: for the tests of this folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.streaming import Streams

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

NAMESPACE = "/api/v1/namespaces/default"
PODS = f"{NAMESPACE}/pods"


class Conversation:
    """`await ask("POST", path, body)` answers with the status and the body."""

    def __init__(self, server: ApiServer, **identity: Any) -> None:
        self.server = server
        self._identity = identity

    async def __call__(
        self, method: str, target: str, body: Any = None, type_: str = "application/json", accept: str = ""
    ) -> tuple[int, Manifest]:
        path, _, query = target.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": type_, **({"accept": accept} if accept else {})}
        request = Request(method, path, dict(parse_qsl(query)), headers, data, raw_query=query, **self._identity)
        answer = await self.server.handle(request)
        assert isinstance(answer.body, bytes)
        return answer.status, json.loads(answer.body)

    async def created(self, path: str, body: Manifest) -> Manifest:
        status, answer = await self("POST", path, body)
        assert status == 201, answer
        return answer

    async def refusal(self, method: str, path: str, body: Any = None, type_: str = "application/json") -> str:
        """What is said to a request that must not succeed."""
        status, answer = await self(method, path, body, type_)
        assert status >= 400, answer
        return f"{status} {answer['message']}"


class OneServer:
    """A kubelet whose pods are all the same server; `asked` are the ports that were connected to."""

    def __init__(self, port: int, answer: list[bytes] | None = None) -> None:
        """`answer` is what that server says, for who wants to change it."""
        self._port = port
        self.asked: list[int] = []
        self.answer = answer or []

    async def connect(self, pod: Manifest, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.asked.append(port)
        if port == 9:
            raise ConnectionRefusedError(111, "Connection refused")
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def execute(self, pod: Manifest, container: str, command: Sequence[str], streams: Streams) -> int:
        raise AssertionError("nobody runs a command")

    async def attach(self, pod: Manifest, container: str, streams: Streams) -> int:
        raise AssertionError("nobody runs a command")


def a_pod(
    name: str = "p", *, requests: Manifest | None = None, limits: Manifest | None = None, **spec: Any
) -> Manifest:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    container: Manifest = {"name": "c", "image": "i", **({"resources": resources} if resources else {})}
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [container], **spec}}

"""Webhooks for tests: an HTTPS server that answers AdmissionReviews as a test tells it to, and the configurations that
have an API server ask it.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from certificates import self_signed

from kfcore.api.meta import Manifest

Answer = Callable[[Manifest], Manifest | web.Response]
"""From a review's request to the response in it, or to whatever else is sent."""

ALLOWED: Manifest = {"allowed": True}


class Reviewer:
    """Serves `answers` by path; `asked` are the requests in the order in which they came."""

    def __init__(self, directory: Path, name: str = "localhost") -> None:
        self._certificate = self_signed(directory, name=name)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Manifest]] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Reviewer]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        review: Manifest = json.loads(await http.read())
        request = review["request"]
        self.asked.append((http.path, request))
        answer = self.answers[http.path](request)
        if isinstance(answer, web.Response):
            return answer
        body = {**review, "response": {"uid": request["uid"], **answer}}
        del body["request"]
        return web.json_response(body)

    @property
    def bundle(self) -> str:
        return base64.b64encode(self._certificate.read_bytes()).decode()

    def webhook(self, name: str, path: str = "/", answer: Answer | None = None, **fields: Any) -> Manifest:
        """A webhook about all config maps, at `path`, which `answer` (everything is allowed) answers there."""
        self.answers[path] = answer or (lambda _: ALLOWED)
        return {
            "name": f"{name}.example.com",
            "clientConfig": {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.bundle},
            "rules": [rule("configmaps")],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            **fields,
        }


def rule(*resources: str, operations: tuple[str, ...] = ("*",), group: str = "", **fields: Any) -> Manifest:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": list(resources),
        "operations": list(operations),
        **fields,
    }


def configuration(kind: str, *webhooks: Manifest, name: str = "test") -> Manifest:
    """`kind` is `Mutating` or `Validating`."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


def patch(*operations: Manifest, **fields: Any) -> Manifest:
    encoded = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded, **fields}


def set_at(path: str, value: Any) -> Manifest:
    return {"op": "add", "path": path, "value": value}


def denied(message: str = "", **status: Any) -> Manifest:
    return {"allowed": False, "status": {**({"message": message} if message else {}), **status}}

"""Who may read the metrics: TLS for the connection, and the API server's word for whoever asks, as controller-runtime's
secure serving has it. It answers with an HTTP status; serving is `kfcore.controller.observability`.
"""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kfcore.api.meta import Manifest, Unstructured, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore.client.interface import Client
from kfcore.clock import Clock

log = structlog.get_logger(__name__)

TokenReview = untyped(Resource("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False))
SubjectAccessReview = untyped(
    Resource("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
)

ALLOWED_SECONDS = 60.0
REFUSED_SECONDS = 10.0
REMEMBERED = 256


class Certificate(msgspec.Struct, frozen=True):
    """The PEM files of a certificate and its key. They are read again when they change, as rotated Secrets do."""

    certificate: Path
    key: Path

    @classmethod
    def of_directory(cls, directory: Path) -> Certificate:
        """`tls.crt` and `tls.key`, as a mounted TLS Secret has them. Raises ValueError when one is missing."""
        found = cls(directory / "tls.crt", directory / "tls.key")
        for path in (found.certificate, found.key):
            if not path.is_file():
                raise ValueError(f"no {path.name} in {directory}: expected tls.crt and tls.key")
        return found


class TlsServer(msgspec.Struct):
    """The TLS context of a certificate's files. Raises ssl.SSLError or OSError for files that are none."""

    files: Certificate
    context: ssl.SSLContext = msgspec.field(default_factory=lambda: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    _loaded: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Take up changed files, for connections from now on; those that are being written wait for the next time."""
        try:
            present = self.files.certificate.stat().st_mtime, self.files.key.stat().st_mtime
            if present != self._loaded:
                self.context.load_cert_chain(self.files.certificate, self.files.key)
                self._loaded = present
        except OSError as error:  # ssl.SSLError is one
            if self._loaded is None:
                raise
            log.warning("metrics.certificate_not_read", error=f"{type(error).__name__}: {error}")


class Gatekeeper:
    """Asks the API server about a bearer token: a TokenReview for whose it is, a SubjectAccessReview for whether they
    may `get` the path. Needs `create` on both kinds (the ClusterRole system:auth-delegator).
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: OrderedDict[tuple[bytes, str], tuple[int, float]] = OrderedDict()

    async def check(self, authorization: str, path: str) -> int:
        """200, 401, 403, or 503 when the API server could not be asked."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return 401
        key = hashlib.sha256(token.encode()).digest(), path
        now = self._clock.monotonic()
        if (known := self._known.get(key)) and now < known[1]:
            return known[0]
        try:
            status = await self._ask(token, path)
        except (ApiError, ConnectionFailed) as error:
            log.warning("metrics.access_unknown", error=f"{type(error).__name__}: {error}")
            return 503
        self._known[key] = status, now + (ALLOWED_SECONDS if status == 200 else REFUSED_SECONDS)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return status

    async def _ask(self, token: str, path: str) -> int:
        reviewed = await self._review(TokenReview, {"token": token})
        if not reviewed.get("authenticated"):
            return 401
        user = reviewed.get("user") or {}
        subject = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
        }
        attributes = {"path": path, "verb": "get"}
        reviewed = await self._review(SubjectAccessReview, {**subject, "nonResourceAttributes": attributes})
        return 200 if reviewed.get("allowed") else 403

    async def _review(self, kind: type[Unstructured], spec: Manifest) -> Manifest:
        answer = await self._client.create(kind, {"metadata": {}, "spec": spec})
        status: Any = answer.raw.get("status")
        return status if isinstance(status, dict) else {}

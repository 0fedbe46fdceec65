"""The tokens of one pod's service account: asked for by TokenRequest, bound to the pod, renewed before they run out."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.pods import LocalPod

SERVICE_ACCOUNT = untyped(Resource("", "v1", "ServiceAccount", "serviceaccounts"))
_OLDEST = timedelta(hours=24)
_LIFE_BEFORE_RENEWAL = 0.8


class TokenFailed(Exception):
    """The API server gives no token; the message says why."""


class _Token(msgspec.Struct, frozen=True):
    text: str
    renew_at: datetime


class Tokens:
    """Those of `pod`, by audience and lifetime. As kubelet's, one is renewed after 80% of its life, or after a day."""

    def __init__(self, client: Client, clock: Clock, pod: LocalPod) -> None:
        self._client = client
        self._clock = clock
        self._pod = pod
        self._tokens: dict[tuple[str, int], _Token] = {}

    async def get(self, audience: str, seconds: int) -> str:
        """A token that is good for a while. Raises TokenFailed where there is none, not even an old one."""
        known, now = self._tokens.get((audience, seconds)), self._clock.now()
        if known is not None and now < known.renew_at:
            return known.text
        try:
            text, expires = await self._request(audience, seconds)
        except (ApiError, ConnectionFailed) as error:
            if known is not None:
                return known.text
            raise TokenFailed(str(error)) from error
        life = min((expires - now) * _LIFE_BEFORE_RENEWAL, _OLDEST)
        self._tokens[audience, seconds] = _Token(text, now + life)
        return text

    def next_renewal(self) -> datetime | None:
        """When `get` will ask again for one of those that it gave."""
        return min((token.renew_at for token in self._tokens.values()), default=None)

    async def _request(self, audience: str, seconds: int) -> tuple[str, datetime]:
        pod = self._pod
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.metadata.uid}
        spec: Manifest = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod.spec.service_account_name or "default"
        answer = decode_json(
            await self._client.subresource("POST", SERVICE_ACCOUNT, account, pod.namespace, "token", body=body)
        )
        status = answer["status"]
        return status["token"], datetime.fromisoformat(status["expirationTimestamp"])

"""Who a bearer token is: the users that the server was started with, and service accounts by the signed tokens that
`serviceaccounts/NAME/token` gives out. What they may do is `authorization.py`'s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from kfcore.apiserver.objects import Objects

AUTHENTICATED, UNAUTHENTICATED, MASTERS = "system:authenticated", "system:unauthenticated", "system:masters"
ISSUER = "https://kubernetes.default.svc.cluster.local"
ACCOUNT_PREFIX = "system:serviceaccount:"


class User(msgspec.Struct, frozen=True):
    """A name and the groups that it belongs to; `extra` is what else is known of it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)


ADMIN = User("kfcore-admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def service_account_user(namespace: str, name: str, uid: str = "", extra: Mapping[str, Sequence[str]] = {}) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, extra)


def user_info(user: User) -> dict[str, Any]:
    """A user as the API writes one."""
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


class Authentication:
    """Knows the users of `tokens`, and signs and checks the tokens of service accounts with `key` (None: its own)."""

    def __init__(self, objects: Objects, tokens: Mapping[str, User], key: bytes | None = None) -> None:
        self._objects = objects
        # By digest, so that how long a look-up takes says nothing about a token.
        self._users = {_digest(token): _authenticated(user) for token, user in tokens.items()}
        self._key = key or secrets.token_bytes(32)

    def authenticate(self, token: str) -> User | None:
        """None for a token that nobody has, that has run out, or whose service account or pod is gone."""
        known = self._users.get(_digest(token))
        return known or self._service_account(token)

    def issue(
        self,
        account: Mapping[str, Any],
        audiences: Sequence[str],
        expires: datetime,
        bound: Mapping[str, Any] | None = None,
    ) -> str:
        """A token (a JWT) for a ServiceAccount, valid until `expires`; bound to a pod, no longer than that lives."""
        metadata = account["metadata"]
        kubernetes: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound is not None:
            kubernetes["pod"] = {"name": bound["name"], "uid": bound["uid"]}
        now = int(self._objects.clock.now().timestamp())
        claims = {
            "aud": list(audiences) or [ISSUER],
            "exp": int(expires.timestamp()),
            "iat": now,
            "iss": ISSUER,
            "jti": self._objects.new_uid(),
            "kubernetes.io": kubernetes,
            "nbf": now,
            "sub": f"{ACCOUNT_PREFIX}{metadata['namespace']}:{metadata['name']}",
        }
        signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def _service_account(self, token: str) -> User | None:
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        text = signed.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))  # ours: we signed it
        kubernetes = claims["kubernetes.io"]
        namespace, account = kubernetes["namespace"], kubernetes["serviceaccount"]
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
        if ISSUER not in claims["aud"] or claims["exp"] <= self._objects.clock.now().timestamp():
            return None
        if not self._lives("serviceaccounts", namespace, account):
            return None
        if pod := kubernetes.get("pod"):
            if not self._lives("pods", namespace, pod):
                return None
            extra |= {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
        return service_account_user(namespace, account["name"], account["uid"], extra)

    def _lives(self, plural: str, namespace: str, reference: Mapping[str, str]) -> bool:
        kind = self._objects.kinds.at("", "v1", plural)
        assert kind is not None
        stored = self._objects.collection(kind).get(namespace, reference["name"])
        return stored is not None and stored.uid == reference["uid"]

    def _signature(self, signed: str) -> str:
        digest = hmac.new(self._key, signed.encode("utf-8", "replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _authenticated(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _encode(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

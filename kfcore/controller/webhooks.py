"""Admission webhooks: before the API server keeps an object, it asks a function of the author's what to change in it,
or whether it may be. AdmissionReviews come in over HTTPS, verdicts go out.

Most kinds need none: their CRD says what is right, and the API server itself refuses the rest. This is for rules that
must look at other objects, and for kinds that belong to somebody else.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec
import structlog
from pydantic import ValidationError

from kfcore.api.codec import decode_json, encode_json, load
from kfcore.api.meta import Manifest, Object
from kfcore.controller.http_server import listen, parse_address
from kfcore.controller.metrics_access import Certificate, TlsServer

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T", bound=Object)

log = structlog.get_logger(__name__)

LARGEST_REVIEW = 8 * 2**20
"""Bytes: two objects of the size that etcd takes, and some more."""

Operation = Literal["CREATE", "UPDATE", "DELETE"]


class Denied(Exception):
    """Raised by a validator: it must not be; the text is what the user is told."""


class Admission(msgspec.Struct, Generic[T], frozen=True):
    """What is to happen, and who wants it. `object` is the state to be (None at DELETE), `old` the one that is (None at
    CREATE). What is put into `warnings` is shown to the user, whatever the verdict.
    """

    operation: Operation
    object: T | None
    old: T | None
    user: str
    groups: tuple[str, ...] = ()
    dry_run: bool = False
    warnings: list[str] = msgspec.field(default_factory=list)


Validator = Callable[[Admission[T]], Awaitable[None]]
Mutator = Callable[[Manifest], Awaitable[None]]


class Webhooks:
    """Answers at `address` (`host:port`, `:port`) over TLS, in every replica with
    `manager.add_runnable(webhooks.serve, needs_leadership=False)`. `port` is where, once it listens.
    """

    def __init__(self, address: str, certificate: Certificate) -> None:
        self.port: int | None = None
        self._address = parse_address(address)
        self._tls = TlsServer(certificate)
        self._validators: dict[str, tuple[type[Any], Validator[Any], Sequence[Operation]]] = {}
        self._mutators: dict[str, tuple[type[Any], Mutator]] = {}

    def validate(
        self, kind: type[T], validator: Validator[T], *, operations: Sequence[Operation] = ("CREATE", "UPDATE")
    ) -> None:
        """Ask `validator` before one of `operations`; it raises `Denied`, or returns. What `kind` cannot hold is denied
        before it is asked.
        """
        self._validators[_path("validate", kind)] = kind, validator, operations

    def mutate(self, kind: type[Object], mutator: Mutator) -> None:
        """Let `mutator` change manifests of `kind`, in place, before they are validated and kept."""
        self._mutators[_path("mutate", kind)] = kind, mutator

    async def serve(self) -> None:
        """Answer until cancelled. Raises `CannotListen`."""
        from aiohttp import web

        application = web.Application(client_max_size=LARGEST_REVIEW)
        application.router.add_post("/{path}", self._answer)
        async with AsyncExitStack() as stack:
            self.port = await listen(stack, "webhooks", self._address, application, self._tls)
            await asyncio.Event().wait()

    def configurations(self, name: str, client_config: Manifest) -> list[Manifest]:
        """The objects by which the API server knows whom to ask. `client_config` is theirs: `{"service": {"namespace":
        …, "name": …}, "caBundle": …}`, or `{"url": "https://host:port", "caBundle": …}`.
        """
        validating = [
            _webhook("validate", path, kind, list(operations), client_config)
            for path, (kind, _, operations) in self._validators.items()
        ]
        mutating = [
            _webhook("mutate", path, kind, ["CREATE", "UPDATE"], client_config)
            for path, (kind, _) in self._mutators.items()
        ]
        return [
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{what}WebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": webhooks,
            }
            for what, webhooks in (("Mutating", mutating), ("Validating", validating))
            if webhooks
        ]

    async def _answer(self, request: web.Request) -> web.Response:
        from aiohttp import web

        self._tls.refresh()
        try:
            asked: Manifest = decode_json(await request.read())["request"]
            uid: str = asked["uid"]
        except (msgspec.DecodeError, LookupError, TypeError):
            return web.Response(status=400, text="expected an AdmissionReview of admission.k8s.io/v1 with a request")
        try:
            if found := self._validators.get(request.path):
                verdict = await _validated(found[0], found[1], asked)
            elif mutated := self._mutators.get(request.path):
                verdict = await _mutated(mutated[1], asked)
            else:
                return web.Response(status=404, text=f"nobody is asked at {request.path}")
        except Exception:  # an author's function: the API server goes by its failure policy
            log.exception(
                "webhook.failed", path=request.path, object=asked.get("name"), namespace=asked.get("namespace")
            )
            return web.Response(status=500, text="the webhook failed; its log says why")
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, **verdict}}
        return web.Response(body=encode_json(body), content_type="application/json")


async def _validated(kind: type[Any], validator: Validator[Any], asked: Manifest) -> Manifest:
    raw, old_raw, user = asked.get("object"), asked.get("oldObject"), asked.get("userInfo") or {}
    try:
        obj = load(kind, raw) if raw else None
    except (ValidationError, msgspec.ValidationError) as error:
        return _denied(f"{kind.resource.kind} cannot be read: {error}", 422, "Invalid")
    try:
        old = load(kind, old_raw) if old_raw else None
    except (ValidationError, msgspec.ValidationError):
        old = None  # kept before it was asked here: that is no reason against its repair
    admission: Admission[Any] = Admission(
        asked["operation"],
        obj,
        old,
        user.get("username", ""),
        tuple(user.get("groups") or ()),
        bool(asked.get("dryRun")),
    )
    try:
        await validator(admission)
    except Denied as denied:
        return _denied(str(denied), 403, "Forbidden") | _warnings(admission)
    return {"allowed": True} | _warnings(admission)


async def _mutated(mutator: Mutator, asked: Manifest) -> Manifest:
    before: Manifest = asked.get("object") or {}
    after = copy.deepcopy(before)
    await mutator(after)
    patch = _difference(before, after, "")
    if not patch:
        return {"allowed": True}
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(encode_json(patch)).decode()}


def _difference(before: Manifest, after: Manifest, where: str) -> list[Manifest]:
    """The JSON patch from one to the other; a list that differs is replaced as a whole."""
    patch: list[Manifest] = [{"op": "remove", "path": f"{where}/{_escaped(key)}"} for key in before if key not in after]
    for key, value in after.items():
        path = f"{where}/{_escaped(key)}"
        if key not in before:
            patch.append({"op": "add", "path": path, "value": value})
        elif isinstance(value, dict) and isinstance(before[key], dict):
            patch += _difference(before[key], value, path)
        elif value != before[key]:
            patch.append({"op": "replace", "path": path, "value": value})
    return patch


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _denied(message: str, code: int, reason: str) -> Manifest:
    return {"allowed": False, "status": {"message": message, "code": code, "reason": reason}}


def _warnings(admission: Admission[Any]) -> Manifest:
    return {"warnings": admission.warnings} if admission.warnings else {}


def _path(what: str, kind: type[Object]) -> str:
    """Where controller-runtime serves it too: `/validate-kubeflow-org-v1-pytorchjob`."""
    resource = kind.resource
    group = resource.group.replace(".", "-")
    return f"/{what}-{group}-{resource.version}-{resource.kind.lower()}"


def _webhook(
    what: str, path: str, kind: type[Object], operations: list[Operation], client_config: Manifest
) -> Manifest:
    resource = kind.resource
    config = copy.deepcopy(client_config)
    if "service" in config:
        config["service"]["path"] = path
    else:
        config["url"] = config["url"].rstrip("/") + path
    return {
        "name": f"{what}.{resource.kind.lower()}.{resource.group or 'core'}",
        "clientConfig": config,
        "rules": [
            {
                "apiGroups": [resource.group],
                "apiVersions": [resource.version],
                "resources": [resource.plural],
                "operations": operations,
            }
        ],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
    }

"""The API server's refusals as types. Each carries the server's Status; the in-process API raises the same types."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from kfcore.api.meta import Manifest, Object, Unstructured, untyped


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason inside a Status: which field, and what is wrong with it."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: list[Cause] = []
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """A meta.k8s.io/v1 Status, as a failed call answers with."""

    kind: str = "Status"
    api_version: str = "v1"
    metadata: dict[str, Any] = {}
    status: str = "Failure"
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: int = 0


class ApiError(Exception):
    """A call that the API server refused.

    `status` is the server's own answer. Subclasses say what kind of refusal it was; one without a subclass here is
    raised as `ApiError`.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = ""

    def __init__(
        self, message: str = "", *, details: StatusDetails | None = None, status: Status | None = None
    ) -> None:
        self.status = status or Status(message=message, reason=self.reason, code=self.code, details=details)
        super().__init__(self.status.message or message)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to wait before another try, if it did."""
        details = self.status.details
        return float(details.retry_after_seconds) if details and details.retry_after_seconds else None


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class Conflict(ApiError):
    """The object changed since it was read (or a precondition does not hold)."""

    code, reason = 409, "Conflict"


class AlreadyExists(ApiError):
    """An object of that name is there. Not a `Conflict`: the remedies differ."""

    code, reason = 409, "AlreadyExists"


class Gone(ApiError):
    """The resource version is no longer in the server's history; list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object breaks a rule; `status.details.causes` names the fields."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class ServerTimeout(ApiError):
    code, reason = 504, "Timeout"


class InsufficientStorage(ApiError):
    """The server could not write the change down, and did not make it."""

    code, reason = 507, "InsufficientStorage"


class ConnectionFailed(Exception):
    """The server could not be reached, or the connection broke before the answer was complete."""


class NotConnected(ConnectionFailed):
    """No connection could be made: nothing was sent, so any call may be tried again."""


class NotTrusted(NotConnected):
    """The server's certificate is not one of those to trust."""


class MalformedAnswer(ConnectionFailed):
    """What arrived is not what the API sends: a proxy's page, a line cut short. Another try may fare better."""

    def __init__(self, message: str, body: bytes) -> None:
        self.body = body
        super().__init__(f"{message}; received {body[:100].decode('utf-8', 'replace')!r}")


class InvalidObject(Exception):
    """An object that the server holds but that cannot be read as the type asked for.

    `object` has its metadata and JSON; `error` is the msgspec or pydantic error that names the field.
    """

    def __init__(self, kind: type[Object], manifest: Manifest, error: Exception) -> None:
        self.kind = kind
        self.object: Unstructured = untyped(kind.resource)(manifest)
        self.error = error
        super().__init__(f"{kind.resource.kind} {self.object.key} cannot be read as {kind.__name__}: {error}")


_BY_REASON: dict[str, type[ApiError]] = {cls.reason: cls for cls in ApiError.__subclasses__()} | {"Gone": Gone}
_BY_CODE: dict[int, type[ApiError]] = {cls.code: cls for cls in ApiError.__subclasses__() if cls is not AlreadyExists}
_decode_status = msgspec.json.Decoder(Status).decode


def error_from_status(status: Status) -> ApiError:
    """The typed error of a Status, as a watch's ERROR event carries it."""
    cls = _BY_REASON.get(status.reason) or _BY_CODE.get(status.code, ApiError)
    return cls(status=status)


def error_from_response(code: int, body: bytes, *, retry_after: str | None = None) -> ApiError:
    """The typed error of a failed HTTP response; `body` may be a Status or anything else (a proxy's page)."""
    try:
        status = _decode_status(body)
    except msgspec.DecodeError:
        text = body[:200].decode("utf-8", "replace").strip() or f"HTTP status {code}"
        cls = _BY_CODE.get(code, ApiError)
        status = Status(message=text, reason=cls.reason, code=code)
    if not status.code:
        status = msgspec.structs.replace(status, code=code)
    if retry_after and retry_after.isdecimal():
        details = status.details or StatusDetails()
        status = msgspec.structs.replace(
            status, details=msgspec.structs.replace(details, retry_after_seconds=int(retry_after))
        )
    return error_from_status(status)

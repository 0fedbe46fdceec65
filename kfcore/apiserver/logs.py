"""`GET …/pods/NAME/log`: the query becomes `LogOptions`, the pod says whether the container can have a log, and whoever
runs the containers (`PodLogs`: the local kubelet) gives the lines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.duration import parse_time
from kfcore.apiserver.request import Request, Response
from kfcore.client.errors import BadRequest, Cause, Invalid, ServiceUnavailable, StatusDetails

_TEXT = {"content-type": "text/plain"}
_TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})
_FALSE = frozenset({"", "false", "0", "f", "F", "FALSE", "False"})


class LogOptions(msgspec.Struct, frozen=True):
    """Which part of a container's log is wanted.

    `tail_lines`: the last so many; `since_seconds` or `since_time`: what is newer; `limit_bytes`: so many bytes and no
    more; None: all. `previous`: of the container's run before its last restart. `timestamps`: each line starts with
    its RFC 3339 time. `follow`: go on until the container ends.
    """

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: datetime | None = None
    limit_bytes: int | None = None


class PodLogs(Protocol):
    """Who has the logs of running and finished containers."""

    def read(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The log of a container of `pod`, in chunks of any size, each given as soon as it is there.

        The iterator may raise an ApiError before its first chunk; closing it early ends a follow.
        """


def log_options(query: Mapping[str, str], pod_name: str) -> LogOptions:
    """Raises BadRequest for what cannot be read, Invalid for numbers out of range and contradictions."""
    tail = _integer(query, "tailLines")
    since = _integer(query, "sinceSeconds")
    limit = _integer(query, "limitBytes")
    since_time = None
    if text := query.get("sinceTime"):
        since_time = parse_time(text)
        if since_time is None:
            raise BadRequest(f"sinceTime: {text!r} is not an RFC 3339 time, such as 2024-01-31T09:30:00Z")
    causes = []
    for field, value, least in (("tailLines", tail, 0), ("sinceSeconds", since, 1), ("limitBytes", limit, 1)):
        if value is not None and value < least:
            limits = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {value}: {limits}", field))
    if since is not None and since_time is not None:
        causes.append(
            Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", "")
        )
    if causes:
        described = ", ".join(": ".join(filter(None, (cause.field, cause.message))) for cause in causes)
        raise Invalid(
            f'PodLogOptions "{pod_name}" is invalid: {described if len(causes) == 1 else f"[{described}]"}',
            details=StatusDetails(name=pod_name, kind="PodLogOptions", causes=causes),
        )
    return LogOptions(
        follow=boolean_parameter(query, "follow"),
        previous=boolean_parameter(query, "previous"),
        timestamps=boolean_parameter(query, "timestamps"),
        tail_lines=tail,
        since_seconds=since,
        since_time=since_time,
        limit_bytes=limit,
    )


async def respond(request: Request, pod: Manifest, logs: PodLogs | None) -> Response:
    """The answer to a log request for a pod that exists. Raises ApiError with the real server's words."""
    name = pod["metadata"]["name"]
    container = choose_container(pod, request.query.get("container", ""))
    options = log_options(request.query, name)
    if not (pod.get("spec") or {}).get("nodeName"):
        return Response(204, {}, b"")  # not scheduled: no log yet, and no error either
    _check_started(pod, container, previous=options.previous)
    if logs is None:
        raise ServiceUnavailable(f"no kubelet serves the logs of pod {name!r}: this API server runs without one")
    chunks = logs.read(pod, container, options)
    if options.follow:
        return Response(200, dict(_TEXT), chunks)
    # What is there now is read to its first chunk before answering, so that a refusal can still be a Status.
    first = await anext(chunks, None)
    if first is None:
        return Response(200, dict(_TEXT), b"")
    return Response(200, dict(_TEXT), _from_first(first, chunks))


async def _from_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for chunk in rest:
            yield chunk
    finally:
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()


def choose_container(pod: Manifest, wanted: str) -> str:
    """The container that is meant, `wanted` or the only one. Raises BadRequest."""
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    names = [container["name"] for container in spec.get("containers") or []]
    init_names = [container["name"] for container in spec.get("initContainers") or []]
    ephemeral_names = [container["name"] for container in spec.get("ephemeralContainers") or []]
    if wanted:
        if wanted not in (*names, *init_names, *ephemeral_names):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if init_names:
        message += f" or one of the init containers: [{' '.join(init_names)}]"
    if ephemeral_names:
        message += f" or one of the ephemeral containers: [{' '.join(ephemeral_names)}]"
    raise BadRequest(message)


def _check_started(pod: Manifest, container: str, *, previous: bool) -> None:
    """Refuse a log of a container that has not run (or, for `previous`, has not run before)."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    states = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    found = next((state for state in states if state.get("name") == container), None)
    if found is None:
        if previous or status.get("phase") in (None, "Pending"):
            word = "PodInitializing" if status.get("initContainerStatuses") else "ContainerCreating"
            if previous:
                raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
            raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {word}')
        return
    last = (found.get("lastState") or {}).get("terminated")
    waiting = (found.get("state") or {}).get("waiting")
    if previous and last is None:
        raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
    if not previous and waiting is not None and last is None:
        reason = waiting.get("reason") or "ContainerCreating"
        raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {reason}')


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name}: {text!r} is not an integer") from None


def boolean_parameter(query: Mapping[str, str], name: str) -> bool:
    """As Go reads one; absent is false. Raises BadRequest."""
    text = query.get(name, "")
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadRequest(f"{name}: {text!r} is not a boolean")

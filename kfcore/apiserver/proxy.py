"""`…/pods/NAME[:PORT]/proxy/PATH` and the same of services: the request goes to what listens in the pod, and its answer
comes back. Whoever runs the containers makes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from kfcore.api.meta import Manifest
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import bad_request
from kfcore.apiserver.streaming import PodProcesses
from kfcore.client.errors import ServiceUnavailable

_HEAD_LIMIT = 64 * 1024
_PIECE = 64 * 1024
_NOT_FORWARDED = frozenset({
    "authorization", "connection", "content-length", "host", "impersonate-group", "impersonate-user", "keep-alive",
    "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


async def respond(route: Route, request: Request, objects: Objects, processes: PodProcesses | None) -> Response:
    """Raises NotFound, BadRequest for a name that is none, ServiceUnavailable where nothing answers."""
    name, port = _parts(route.name)
    if route.kind.resource.plural == "services":
        pod, number = _behind_service(route, name, port, objects)
    else:
        pods = objects.kinds.at("", "v1", "pods")
        assert pods is not None
        pod = objects.read(pods, route.namespace, name).manifest
        number = _port_of(pod, port)
    if processes is None:
        raise ServiceUnavailable("no kubelet runs the containers of pods: this API server runs without one")
    try:
        reader, writer = await processes.connect(pod, number)
    except OSError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from error
    try:
        writer.write(_sent(route, request))
        await writer.drain()
        return await _answer(request.method, reader, writer)
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise ServiceUnavailable(f"error trying to reach service: {error}") from error


async def connect_service(
    objects: Objects, processes: PodProcesses | None, namespace: str, name: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to what is behind a port of a Service. Raises ApiError, OSError."""
    services = objects.kinds.at("", "v1", "services")
    assert services is not None
    if objects.collection(services).get(namespace, name) is None:
        raise ServiceUnavailable(f'service "{name}" not found')
    pod, number = _behind_service(Route(services, namespace, name), name, str(port), objects)
    if processes is None:
        raise ServiceUnavailable("no kubelet runs the containers of pods: this API server runs without one")
    return await processes.connect(pod, number)


def _parts(text: str) -> tuple[str, str]:
    """Name and port of `[scheme:]name[:port]`."""
    match text.split(":"):
        case [name]:
            return name, ""
        case [name, port] | ["" | "http", name, port]:
            return name, port
        case [scheme, _, _]:
            raise bad_request(f"{scheme}: only http is proxied")
    raise bad_request(f'invalid pod or service request "{text}"')


def _port_of(pod: Manifest, port: str) -> int:
    """The port of a pod: by number or by name, or the first that it says it has."""
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    for container in pod["spec"].get("containers") or ():
        for entry in container.get("ports") or ():
            if not port or entry.get("name") == port:
                return int(entry["containerPort"])
    if port:
        raise bad_request(f"pod {pod['metadata']['name']} has no port named {port}")
    return 80


def _behind_service(route: Route, name: str, port: str, objects: Objects) -> tuple[Manifest, int]:
    """A pod that is ready for a service's port, and the port of it."""
    service = objects.read(route.kind, route.namespace, name).manifest
    entries = service["spec"].get("ports") or []
    entry: Any = next((one for one in entries if not port or port in (one.get("name"), str(one.get("port")))), None)
    selector = service["spec"].get("selector")
    pods = objects.kinds.at("", "v1", "pods")
    assert pods is not None
    if entry is None:
        raise ServiceUnavailable(f'no endpoints available for service "{route.name}"')
    for stored in objects.collection(pods).select(route.namespace) if selector else ():
        if all(stored.labels.get(key) == value for key, value in selector.items()) and _is_ready(stored.manifest):
            return stored.manifest, _port_of(stored.manifest, str(entry.get("targetPort") or entry.get("port")))
    raise ServiceUnavailable(f'no endpoints available for service "{route.name}"')


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _sent(route: Route, request: Request) -> bytes:
    path = "/" + "/".join(map(_quoted, route.rest.split("/")))
    target = f"{path}?{request.raw_query}" if request.raw_query else path
    headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
    headers |= {"host": route.name, "connection": "close"}
    if request.body:
        headers["content-length"] = str(len(request.body))
    lines = [f"{request.method} {target} HTTP/1.0", *(f"{name}: {_one_line(value)}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + request.body


def _quoted(part: str) -> str:
    return quote(part, safe="~:@!$&'()*+,;=-._")


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


async def _answer(method: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Response:
    """HTTP/1.0 ends a body with the connection: no other framing has to be undone."""
    head = await reader.readuntil(b"\r\n\r\n")
    if len(head) > _HEAD_LIMIT:
        raise ValueError("the answer's head is too long")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    pairs = (line.partition(":") for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    kept = {name: value for name, value in headers.items() if name not in _NOT_FORWARDED}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = _chunks(reader)
    elif "content-length" in headers and method != "HEAD" and status != 304:
        pieces = _counted(reader, int(headers["content-length"]))
    else:
        pieces = _to_the_end(reader)
    return Response(status, kept, _body(pieces, writer))


async def _body(pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    """Raises ConnectionError when the pod's server went away in the middle: what came is not the whole answer."""
    try:
        async for piece in pieces:
            yield piece
    except (EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise ConnectionAbortedError(f"the answer of the pod broke off: {error}") from error
    finally:
        writer.close()


async def _to_the_end(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(_PIECE):
        yield data


async def _counted(reader: asyncio.StreamReader, left: int) -> AsyncIterator[bytes]:
    while left > 0:
        data = await reader.read(min(left, _PIECE))
        if not data:
            raise EOFError(f"{left} bytes are missing")
        left -= len(data)
        yield data


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readuntil(b"\n")

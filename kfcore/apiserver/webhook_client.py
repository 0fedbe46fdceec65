"""Calls a webhook: a POST over TLS, to a URL, or through a Service to what runs in one of its pods. Bytes in, bytes
out; what they mean is `admission_review.py`'s.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_review import CallFailed
from kfcore.client.errors import ApiError

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ConnectService = Callable[[str, str, int], Awaitable[Connection]]
"""From a Service's namespace, name and port to a connection. Raises ApiError, OSError."""

_LARGEST_ANSWER = 10 * 2**20
_HEAD_LIMIT = 64 * 1024
_AUTHORITY_ERRORS = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL calls a certificate that nobody known has signed."""


class Place(msgspec.Struct, frozen=True):
    """Where a webhook is. `service` is the namespace and name of what `host` stands for, where that is a Service."""

    host: str
    port: int
    target: str
    url: str
    service: tuple[str, str] | None = None


def place_of(config: Manifest, timeout: int) -> Place:
    """The place that a `clientConfig` names."""
    if (service := config.get("service")) is not None:
        namespace, name, port = service["namespace"], service["name"], service.get("port", 443)
        host = f"{name}.{namespace}.svc"
        target = f"/{(service.get('path') or '').lstrip('/')}?timeout={timeout}s"
        return Place(host, port, target, f"https://{host}:{port}{target}", (namespace, name))
    parts = urlsplit(config["url"])
    target = f"{parts.path or '/'}?timeout={timeout}s"
    return Place(parts.hostname or "", parts.port or 443, target, f"https://{parts.netloc}{target}")


async def call(config: Manifest, body: bytes, timeout: int, connect: ConnectService) -> bytes:
    """What the webhook at a `clientConfig` answers within `timeout` seconds. Raises CallFailed."""
    place = place_of(config, timeout)
    failed = f'failed to call webhook: Post "{place.url}": '
    try:
        trust = _trust(config.get("caBundle") or "")
        async with asyncio.timeout(timeout):
            reader, writer = await _connection(place, trust, connect)
            try:
                status, answer = await _exchange(reader, writer, place, body)
            finally:
                writer.close()
    except ApiError as error:
        raise CallFailed(failed + error.status.message) from error
    except TimeoutError as error:
        raise CallFailed(f"{failed}context deadline exceeded") from error
    except ssl.SSLCertVerificationError as error:
        raise CallFailed(f"{failed}tls: failed to verify certificate: x509: {_distrust(error)}") from error
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise CallFailed(failed + _in_words(error, place)) from error
    if not 200 <= status < 300:
        raise CallFailed(f"failed to call webhook: {_refused(status, answer)}")
    return answer


@lru_cache(64)
def _trust(bundle: str) -> ssl.SSLContext:
    """Who is trusted: the authorities of a `caBundle` alone, or without one the machine's."""
    if not bundle:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode("ascii"))
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which asks for more than the real server does
    return context


async def _connection(place: Place, trust: ssl.SSLContext, connect: ConnectService) -> Connection:
    if place.service is None:
        return await asyncio.open_connection(place.host, place.port, ssl=trust, limit=_HEAD_LIMIT)
    reader, writer = await connect(*place.service, place.port)
    try:
        await writer.start_tls(trust, server_hostname=place.host)
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: Place, body: bytes
) -> tuple[int, bytes]:
    head = (
        f"POST {place.target} HTTP/1.0\r\nhost: {place.host}:{place.port}\r\nuser-agent: kube-apiserver-admission\r\n"
        f"accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    writer.write(head.encode("utf-8", "replace") + body)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        raise ValueError(f'malformed HTTP response "{lines[0]}"')
    status = int(words[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return status, await _chunked(reader)
    if (length := headers.get("content-length", "")).isdigit():
        return status, await reader.readexactly(_bounded(int(length)))
    return status, await reader.read(_LARGEST_ANSWER)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        answer += await reader.readexactly(_bounded(len(answer) + size) - len(answer))
        await reader.readline()
    return answer


def _bounded(length: int) -> int:
    if length > _LARGEST_ANSWER:
        raise ValueError("the answer is too large")
    return length


def _in_words(error: Exception, place: Place) -> str:
    match error:
        case ConnectionRefusedError():
            return f"dial tcp {place.host}:{place.port}: connect: connection refused"
        case socket.gaierror():
            return f"dial tcp: lookup {place.host}: no such host"
        case EOFError():
            return "EOF"
        case ConnectionResetError():
            return "read: connection reset by peer"
    return str(error) or type(error).__name__


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _AUTHORITY_ERRORS:
        return "certificate signed by unknown authority"
    return error.verify_message


def _refused(status: int, answer: bytes) -> str:
    """What clients of the real server make of an answer that is none of success."""
    said = answer.decode("utf-8", "replace").strip() or "unknown"
    match status:
        case 400:
            return "the server rejected our request for an unknown reason"
        case 401:
            return "the server has asked for the client to provide credentials"
        case 403:
            return said
        case 404:
            return "the server could not find the requested resource"
        case 503:
            return "the server is currently unable to handle the request"
        case 504:
            return (
                "the server was unable to return a response in the time allotted, but may still be processing the "
                "request"
            )
        case _ if status >= 500:
            escaped = said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'an error on the server ("{escaped}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"

"""One look at a container, by a probe's or a hook's handler: the pod's address and the handler come in, whether it went
well and what was said come out, in kubelet's words. When to look, and what follows, is `probes.py` and `hooks.py`.
"""

from __future__ import annotations

import asyncio
import shlex
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import msgspec

from kfcore.client.errors import ApiError
from kfcore.clock import Clock
from kfcore_local import grpc_health
from kfcore_local.grpc_health import NoHealth
from kfcore_local.handlers import GrpcAction, Handler, HttpGetAction, HttpHeader, TcpSocketAction
from kfcore_local.pod_access import Connection, Running, connect, run_inside
from kfcore_local.pod_network import PodNetwork
from kfcore_local.pods import Container

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MOST_REDIRECTS = 10


class CannotProbe(Exception):
    """The look itself could not be taken, which says nothing about the container."""


class Finding(msgspec.Struct, frozen=True):
    well: bool
    message: str = ""


class Target(msgspec.Struct, frozen=True):
    """A running container, as probes and hooks reach it."""

    network: PodNetwork
    clock: Clock
    pod_uid: str
    pod_ip: str
    container: Container
    running: Running

    async def look(self, handler: Handler, name: str, seconds: float | None) -> Finding:
        """Do what `handler` says, for `seconds` at most; `name` marks a command's processes. Raises CannotProbe."""
        if handler.exec is not None:
            return await self._execute(handler.exec.command, name, seconds)
        if handler.http_get is not None:
            return await _Request(self, handler.http_get).send(seconds)
        if handler.tcp_socket is not None:
            return await self._dial(handler.tcp_socket, seconds)
        if handler.grpc is not None:
            return await self._ask(handler.grpc, seconds)
        if handler.sleep is not None:
            await self.clock.sleep(handler.sleep.seconds)
            return Finding(True)
        raise CannotProbe("missing handler: expected one of exec, httpGet, tcpSocket, grpc")

    async def _execute(self, command: list[str], name: str, seconds: float | None) -> Finding:
        try:
            code, output = await run_inside(self.running, command, name, self.clock, seconds)
        except TimeoutError:
            return Finding(False, f"command {shlex.join(command)!r} timed out")
        except ApiError as error:
            raise CannotProbe(str(error)) from error
        return Finding(code == 0, output or (f"command {shlex.join(command)!r} exited with {code}" if code else ""))

    async def _dial(self, action: TcpSocketAction, seconds: float | None) -> Finding:
        host, port = action.host or self.pod_ip, self.number_of(action.port)
        try:
            async with self.clock.timeout(seconds), self.connection(action.host, port):
                return Finding(True)
        except TimeoutError:
            return Finding(False, f"dial tcp {host}:{port}: i/o timeout")
        except OSError as error:
            return Finding(False, f"dial tcp {host}:{port}: {refusal(error)}")

    async def _ask(self, action: GrpcAction, seconds: float | None) -> Finding:
        port = self.number_of(action.port)
        address = f"{self.pod_ip}:{port}"
        try:
            async with self.clock.timeout(seconds), self.connection("", port) as (reader, writer):
                status = await grpc_health.check(reader, writer, address, action.service)
        except TimeoutError:
            return Finding(
                False, f'timeout: failed to connect service "{address}" within {seconds or 0:.0f}s: deadline exceeded'
            )
        except NoHealth as error:
            return Finding(False, f"error: {error}")
        except OSError as error:
            return Finding(False, f'error: failed to connect service "{address}": {refusal(error)}')
        return Finding(status == "SERVING", f'service unhealthy (responded with "{status}")')

    def number_of(self, port: int | str) -> int:
        """A port by its number or its name. Raises CannotProbe."""
        if isinstance(port, str) and not port.isdecimal():
            named = next((p.container_port for p in self.container.ports if p.name == port), None)
            if named is None:
                raise CannotProbe(f"couldn't find port {port!r} in container {self.container.name!r}")
            port = named
        return int(port)

    @asynccontextmanager
    async def connection(self, host: str, port: int) -> AsyncIterator[Connection]:
        if host:
            reader, writer = await asyncio.open_connection(host, port)
        else:
            reader, writer = await connect(self.network, self.pod_uid, self.pod_ip, port)
        try:
            yield reader, writer
        finally:
            writer.close()


class _Request:
    """A GET of a probe: redirects that stay on the host are followed, and no certificate is looked at."""

    def __init__(self, target: Target, action: HttpGetAction) -> None:
        self._target = target
        self._action = action
        self._port = target.number_of(action.port)
        path = action.path if action.path.startswith("/") else f"/{action.path}"
        self._url = f"{action.scheme.lower()}://{action.host or target.pod_ip}:{self._port}{path}"

    async def send(self, seconds: float | None) -> Finding:
        try:
            async with self._target.clock.timeout(seconds):
                return await self._follow()
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            why = "EOF"
        except ssl.SSLError as error:
            why = f"tls: {error.reason or error}"
        except OSError as error:
            why = f"dial tcp {urlsplit(self._url).netloc}: {refusal(error)}"
        return Finding(False, f'Get "{self._url}": {why}')

    async def _follow(self) -> Finding:
        for _ in range(_MOST_REDIRECTS):
            code, location = await self._get()
            there = urljoin(self._url, location) if location else ""
            if not 300 <= code < 400 or not there:
                return Finding(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")
            if urlsplit(there).netloc != urlsplit(self._url).netloc:
                return Finding(True, f"Probe terminated redirects, Response body: {there}")
            self._url = there
        return Finding(False, f'Get "{self._url}": stopped after {_MOST_REDIRECTS} redirects')

    async def _get(self) -> tuple[int, str]:
        url = urlsplit(self._url)
        given = self._action.http_headers
        usual = [HttpHeader(name="User-Agent", value="kube-probe/kfcore"), HttpHeader(name="Accept", value="*/*")]
        names = {header.name.lower() for header in given}
        host = next((header.value for header in given if header.name.lower() == "host"), url.netloc)
        headers = [header for header in usual if header.name.lower() not in names]
        headers += [header for header in given if header.name.lower() != "host"]
        lines = [f"GET {url.path or '/'}{f'?{url.query}' if url.query else ''} HTTP/1.1", f"Host: {host}"]
        lines += [f"{_line(header.name)}: {_line(header.value)}" for header in headers if header.value]
        async with self._target.connection(self._action.host, self._port) as (reader, writer):
            if url.scheme == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                await writer.start_tls(context, server_hostname=url.hostname)
            writer.write(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode())
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        parts = head[0].split(" ")
        if not head[0].startswith("HTTP/") or len(parts) < 2 or not parts[1].isdecimal():
            raise OSError(f"malformed HTTP response {head[0]!r}")
        location = next((line[9:].strip() for line in head[1:] if line.lower().startswith("location:")), "")
        return int(parts[1]), location


def refusal(error: OSError) -> str:
    """Why a connection failed, as Go says it."""
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return str(error.strerror or error).lower()


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")

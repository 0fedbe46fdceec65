"""The name server of pods: questions come in by UDP and TCP, those of the cluster are answered from its Services,
others are passed on to this machine's own name server.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import structlog

from kfcore_local.isolation import dns
from kfcore_local.isolation.addresses import HOST, HOST_NAME, OWN_NETWORKS
from kfcore_local.isolation.directory import DOMAIN, Directory, Found

log = structlog.get_logger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
_BYTES = 65535
_UPSTREAM_SECONDS = 4.0
_API_NAME = f"kubernetes.default.svc.{DOMAIN}"


class NameServer:
    """`names` knows those below the cluster's domain; `api_address` is where pods have the API server."""

    def __init__(self, names: Directory, api_address: str) -> None:
        self._names = names
        self._api_address = api_address

    async def serve(self, datagrams: socket.socket, connections: socket.socket) -> None:
        """Answer what comes by two sockets, until cancelled; they are closed then."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer_datagrams(datagrams, group))
                group.create_task(self._answer_connections(connections, group))
        finally:
            datagrams.close()
            connections.close()

    async def _answer_datagrams(self, datagrams: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message, client = await loop.sock_recvfrom(datagrams, _BYTES)
            if (reply := self.known(message)) is not None:
                _send(datagrams, reply, client)
            else:
                group.create_task(self._pass_on(datagrams, message, client))

    async def _pass_on(self, datagrams: socket.socket, message: bytes, client: Any) -> None:
        reply = await self._ask_others(message, stream=False)
        if reply is not None:
            _send(datagrams, reply, client)

    async def _answer_connections(self, connections: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(connections)
            except OSError as error:
                log.warning("names.not_accepted", error=str(error))
                await asyncio.sleep(1.0)  # too many open files; they become fewer
                continue
            group.create_task(self._answer_connection(accepted))

    async def _answer_connection(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            while True:
                message = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                reply = self.known(message)
                if reply is None:
                    reply = await self._ask_others(message, stream=True)
                if reply is None:
                    return
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def known(self, message: bytes) -> bytes | None:
        """The answer, where it is ours to give; None where another server is to be asked."""
        try:
            question = dns.read_question(message)
        except dns.NotAQuestion:
            return b""
        name = question.name
        if name == HOST_NAME:
            return dns.answer(question, (HOST,))
        # No other server knows them, and one that takes its time to say so holds up whoever a pod has connected to: the
        # store of torchrun answers nobody while it looks for the name of a newcomer.
        if (address := dns.asked_address(question)).startswith(OWN_NETWORKS):
            called = self._names.name_of(address)
            return dns.name_of_address(question, called) if called else dns.failure(question, dns.NO_NAME)
        if not _is_of_the_cluster(name):
            return None
        found = self._find(name)
        if found is None:
            return dns.failure(question, dns.NO_NAME)
        addresses = found.addresses
        if found.alias and question.kind == dns.A:
            if not _is_of_the_cluster(found.alias):
                return None
            behind = self._find(found.alias)
            addresses = behind.addresses if behind is not None else ()
        return dns.answer(question, addresses, found.alias)

    def _find(self, name: str) -> Found | None:
        return Found((self._api_address,)) if name == _API_NAME else self._names.find(name)

    async def _ask_others(self, message: bytes, *, stream: bool) -> bytes | None:
        """The answer to what is not known here: of this machine's name servers, also for what an ExternalName means."""
        question = dns.read_question(message)
        found = self._find(question.name) if _is_of_the_cluster(question.name) else None
        if found is None:
            return await _ask_upstream(message, stream=stream)
        return dns.answer(question, await _addresses(found.alias), found.alias)


def _is_of_the_cluster(name: str) -> bool:
    return name == DOMAIN or name.endswith("." + DOMAIN)


async def _addresses(name: str) -> list[str]:
    try:
        async with asyncio.timeout(_UPSTREAM_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                name, None, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
        log.debug("names.alias_not_found", name=name, error=str(error))
        return []
    return [str(entry[4][0]) for entry in found]


def _send(datagrams: socket.socket, reply: bytes, client: Any) -> None:
    if reply:
        try:
            datagrams.sendto(reply, client)
        except OSError as error:
            log.debug("names.not_sent", error=str(error))  # who asked has gone, or asks again


def upstream_servers() -> list[str]:
    """This machine's name servers."""
    return [fields[1] for fields in _resolver_lines() if fields[0] == "nameserver"]


def upstream_searches() -> list[str]:
    """The domains in which this machine looks for names."""
    found = [fields[1:] for fields in _resolver_lines() if fields[0] == "search"]
    return [search for search in (found[-1] if found else []) if search != "."]


def _resolver_lines() -> list[list[str]]:
    try:
        text = RESOLV_CONF.read_text(errors="replace")
    except OSError:
        return []
    return [fields for line in text.splitlines() if len(fields := line.split()) > 1]


async def _ask_upstream(message: bytes, *, stream: bool) -> bytes | None:
    """Its answer; that there is none is told as a failure of the server."""
    for server in upstream_servers()[:2]:
        try:
            async with asyncio.timeout(_UPSTREAM_SECONDS):
                return await (_ask_by_stream if stream else _ask_by_datagram)(server, message)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("names.upstream_failed", server=server, error=str(error))
    return dns.failure(dns.read_question(message), dns.SERVER_FAILURE)


async def _ask_by_datagram(server: str, message: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((server, 53))
        await loop.sock_sendall(asking, message)
        while (reply := await loop.sock_recv(asking, _BYTES))[:2] != message[:2]:
            pass
        return reply


async def _ask_by_stream(server: str, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()

"""`GET …/pods/NAME/exec`, `attach` and `portforward`: the query and the pod become a conversation over a WebSocket
(`channels.py` for kubectl's and the SDKs' channels, `tunnel.py` for kubectl's port-forward), and whoever runs the
containers (`PodProcesses`: the local kubelet) is at its other end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl

from kfcore.api.meta import Manifest
from kfcore.apiserver import channels, tunnel
from kfcore.apiserver.logs import boolean_parameter, choose_container
from kfcore.apiserver.request import Request, Response, Upgrade
from kfcore.apiserver.status import error_response
from kfcore.client.errors import BadRequest, ServiceUnavailable

PORTS = 16


class Streams(Protocol):
    """A process's side of a conversation. `tty`: the client wants a terminal, and stderr comes with stdout."""

    tty: bool
    has_stdin: bool

    async def read_stdin(self) -> bytes:
        """What the client sends, as it comes; empty at its end."""

    async def next_size(self) -> tuple[int, int]:
        """The next size of the client's terminal, in columns and rows. Never returns when there is none."""

    async def write(self, stream: str, data: bytes) -> None:
        """To the client's `stdout` or `stderr`; what it did not ask for is dropped. Raises ConnectionError."""


class PodProcesses(Protocol):
    """Who runs the containers."""

    async def execute(self, pod: Manifest, container: str, command: Sequence[str], streams: Streams) -> int:
        """Run a command where a running container runs; its exit code. Being cancelled kills it. Raises ApiError."""

    async def attach(self, pod: Manifest, container: str, streams: Streams) -> int:
        """Share the output and input of a container's process until it ends; its exit code. Raises ApiError."""

    async def connect(self, pod: Manifest, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what listens on `port` in the pod. Raises OSError."""


def respond(subresource: str, request: Request, pod: Manifest, processes: PodProcesses | None) -> Response:
    """The answer to exec, attach or portforward: an upgrade. Raises ApiError with the real server's words."""
    name = pod["metadata"]["name"]
    if processes is None:
        raise ServiceUnavailable(f"no kubelet runs the containers of pod {name!r}: this API server runs without one")
    if not (pod.get("spec") or {}).get("nodeName"):
        raise BadRequest(f"pod {name} does not have a host assigned")
    pairs = parse_qsl(request.raw_query, keep_blank_values=True)
    if subresource == "portforward":
        upgrade = _forwarding(pod, pairs, processes)
    else:
        upgrade = _process(subresource, pod, request.query, pairs, processes)
    refusal = error_response(BadRequest("Upgrade request required"))
    return Response(refusal.status, refusal.headers, refusal.body, upgrade)


def _process(
    subresource: str,
    pod: Manifest,
    query: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    processes: PodProcesses,
) -> Upgrade:
    container = choose_container(pod, query.get("container", ""))
    wanted = channels.Wanted(
        **{name: boolean_parameter(query, name) for name in ("stdin", "stdout", "stderr", "tty")},
    )
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    command = [value for key, value in pairs if key == "command"]
    if subresource == "attach":
        work = partial(processes.attach, pod, container)
    elif command:
        work = partial(_execute, processes, pod, container, command)
    else:
        raise BadRequest("you must specify at least one command")
    return Upgrade(channels.PROTOCOLS, partial(channels.converse, wanted=wanted, work=work), wanted.channels())


async def _execute(
    processes: PodProcesses, pod: Manifest, container: str, command: Sequence[str], streams: Streams
) -> int:
    return await processes.execute(pod, container, command, streams)


def _forwarding(pod: Manifest, pairs: Sequence[tuple[str, str]], processes: PodProcesses) -> Upgrade:
    texts = [port for key, value in pairs if key == "ports" for port in value.split(",")]
    try:
        ports = [int(text) for text in texts]
    except ValueError:
        raise BadRequest(f"ports: expected numbers, got {','.join(texts)}") from None
    if len(ports) > PORTS or not all(0 < port < 65536 for port in ports):
        raise BadRequest(f"ports: expected at most {PORTS} numbers from 1 to 65535")
    connect = partial(processes.connect, pod)

    async def converse(socket: channels.Socket) -> None:
        if socket.protocol == tunnel.PROTOCOL:
            await tunnel.converse(socket, connect)
        else:
            await channels.forward(socket, ports, connect)

    return Upgrade((tunnel.PROTOCOL, *channels.FORWARD_PROTOCOLS), converse)

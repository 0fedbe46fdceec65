"""Messages between the kubelet and the hub, with file descriptors beside them. Built-in modules only."""

from __future__ import annotations

import _socket
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MESSAGE_BYTES = 65536
_MOST_DESCRIPTORS = 8


def send(channel: _socket.socket, message: dict[str, Any], descriptors: list[int] = []) -> None:  # noqa: B006
    packed = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if descriptors else []
    try:
        channel.sendmsg([marshal.dumps(message)], ancillary)
    except BrokenPipeError:
        return  # the kubelet is gone, and its end of the socket says so


def receive(channel: _socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    space = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
    try:
        data, ancillary, _, _ = channel.recvmsg(_MESSAGE_BYTES, space)
    except ConnectionResetError:
        return None, []
    descriptors = [
        int.from_bytes(packed[start : start + 4], sys.byteorder)
        for level, kind, packed in ancillary
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for start in range(0, len(packed) // 4 * 4, 4)
    ]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return (marshal.loads(data) if data else None), descriptors

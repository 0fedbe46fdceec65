"""One rule of nf_tables, by netlink: TCP connections that come in by a device, to whatever address and port, go to one
port of this network namespace. Built-in modules only.
"""

from __future__ import annotations

import _socket
import os
import struct

_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES = 10
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR = 2
_IPV4 = 2
_NESTED = 0x8000
_PREROUTING, _NAT_PRIORITY = 0, -100
_INPUT_DEVICE, _PROTOCOL = 6, 16
_EQUAL = 0
_REGISTER = 1
_TCP = 6
_NAME = "kfcore"


def redirect(device: str, port: int) -> None:
    """Raises OSError, on a kernel without nf_tables among others."""
    hook = _attribute(1, struct.pack(">I", _PREROUTING)) + _attribute(2, struct.pack(">i", _NAT_PRIORITY))
    chain = _text(1, _NAME) + _text(3, _NAME) + _attribute(4 | _NESTED, hook) + _text(7, "nat")
    expressions = b"".join(
        [
            _is(_INPUT_DEVICE, device.encode().ljust(16, b"\0")),
            _is(_PROTOCOL, bytes([_TCP])),
            _expression("immediate", _number(1, _REGISTER) + _data(2, struct.pack(">H", port))),
            _expression("redir", _number(1, _REGISTER)),
        ]
    )
    rule = _text(1, _NAME) + _text(2, _NAME) + _attribute(4 | _NESTED, expressions)
    wanted = (
        (_NEW_TABLE, _text(1, _NAME), _CREATE),
        (_NEW_CHAIN, chain, _CREATE),
        (_NEW_RULE, rule, _CREATE | _APPEND),
    )
    messages = [_message(_BATCH_BEGIN, _REQUEST, 0, _NFTABLES)]
    for number, (kind, body, flags) in enumerate(wanted, start=1):
        messages.append(_message(_NFTABLES << 8 | kind, _REQUEST | _ACK | flags, number, 0, _IPV4, body))
    messages.append(_message(_BATCH_END, _REQUEST, 0, _NFTABLES))
    channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETFILTER)
    try:
        channel.settimeout(2.0)
        channel.send(b"".join(messages))
        _wait_for(channel, len(wanted))
    finally:
        channel.close()


def _wait_for(channel: _socket.socket, answers: int) -> None:
    while answers:
        received = channel.recv(65536)
        while received:
            length, kind = struct.unpack_from("=IH", received)
            if kind == _ERROR:
                number = -struct.unpack_from("=i", received, 16)[0]
                if number:
                    raise OSError(number, f"nf_tables: {os.strerror(number)}")
                answers -= 1
            received = received[length + 3 & ~3 :]


def _message(kind: int, flags: int, number: int, resource: int, family: int = 0, body: bytes = b"") -> bytes:
    header = struct.pack("=IHHII", 20 + len(body), kind, flags, number, 0)
    return header + struct.pack(">BBH", family, 0, resource) + body


def _is(key: int, value: bytes) -> bytes:
    """What a packet has of `key` is `value`; else the rule is not its."""
    loaded = _expression("meta", _number(1, _REGISTER) + _number(2, key))
    return loaded + _expression("cmp", _number(1, _REGISTER) + _number(2, _EQUAL) + _data(3, value))


def _expression(name: str, attributes: bytes) -> bytes:
    return _attribute(1 | _NESTED, _text(1, name) + _attribute(2 | _NESTED, attributes))


def _data(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, _attribute(1, value))


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)

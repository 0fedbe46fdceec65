"""Network links by rtnetlink: a bridge, pairs of virtual Ethernet devices, addresses and routes. Names and numbers come
in, messages go to the kernel; an error of it is an OSError. Built-in modules only.
"""

from __future__ import annotations

import _socket
import os
import struct

_NETLINK_ROUTE = 0
_REQUEST_ACK = 0x1 | 0x4
_CREATE = 0x400 | 0x200  # NLM_F_CREATE | NLM_F_EXCL
_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_ERROR = 2
_UP = 0x1
_NESTED = 0x8000

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_INFO_KIND, _INFO_DATA, _PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN = 254
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_PROTOCOL_BOOT = 3
_UNICAST, _LOCAL = 1, 2


class Links:
    """The links of the network namespace in which this is made."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)

    def close(self) -> None:
        self._socket.close()

    def add_bridge(self, name: str, hardware: bytes) -> None:
        """`hardware` is its address of six bytes; without one it would change with the devices that it joins."""
        self._send(_NEWLINK, _link(), _device(name, hardware) + _kind("bridge"), _CREATE)

    def add_pair(self, name: str, peer: str, peer_namespace: int, hardware: bytes) -> None:
        """A device here, with its address, and its peer in the network namespace of a file descriptor."""
        end = _link() + _text(_IFLA_IFNAME, peer) + _number(_IFLA_NET_NS_FD, peer_namespace)
        kind = _kind("veth", _attribute(_INFO_DATA | _NESTED, _attribute(_PEER | _NESTED, end)))
        self._send(_NEWLINK, _link(), _device(name, hardware) + kind, _CREATE)

    def set_up(self, name: str, *, bridge: str = "") -> None:
        attributes = _number(_IFLA_MASTER, _socket.if_nametoindex(bridge)) if bridge else b""
        self._send(_NEWLINK, _link(_socket.if_nametoindex(name), up=True), attributes, 0)

    def add_address(self, name: str, address: str, prefix: int) -> None:
        packed = _socket.inet_aton(address)
        header = struct.pack("=BBBBI", _socket.AF_INET, prefix, 0, _SCOPE_UNIVERSE, _socket.if_nametoindex(name))
        attributes = _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        self._send(_NEWADDR, header, attributes, _CREATE)

    def add_route(self, gateway: str, network: str = "0.0.0.0", prefix: int = 0) -> None:
        """Without a network, that of all others."""
        destination = _attribute(_RTA_DST, _socket.inet_aton(network)) if prefix else b""
        header = _route(prefix, _SCOPE_UNIVERSE, _UNICAST)
        self._send(_NEWROUTE, header, destination + _attribute(_RTA_GATEWAY, _socket.inet_aton(gateway)), _CREATE)

    def accept_others(self) -> None:
        """Take packets to addresses that no route leads to for this namespace's own."""
        device = _number(_RTA_OIF, _socket.if_nametoindex("lo"))
        self._send(_NEWROUTE, _route(0, _SCOPE_HOST, _LOCAL), device, _CREATE)

    def _send(self, kind: int, header: bytes, attributes: bytes, flags: int) -> None:
        body = header + attributes
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_ACK | flags, 1, 0) + body)
        answer = self._socket.recv(65536)
        if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
            number = -struct.unpack_from("=i", answer, 16)[0]
            if number:
                raise OSError(number, f"netlink request {kind}: {os.strerror(number)}")


def _link(index: int = 0, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", _socket.AF_UNSPEC, 0, index, _UP if up else 0, _UP if up else 0)


def _device(name: str, hardware: bytes) -> bytes:
    return _text(_IFLA_IFNAME, name) + _attribute(_IFLA_ADDRESS, hardware)


def _route(prefix: int, scope: int, kind: int) -> bytes:
    return struct.pack("=BBBBBBBBI", _socket.AF_INET, prefix, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, scope, kind, 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _kind(kind: str, data: bytes = b"") -> bytes:
    return _attribute(_IFLA_LINKINFO | _NESTED, _text(_INFO_KIND, kind) + data)

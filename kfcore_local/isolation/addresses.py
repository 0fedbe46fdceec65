"""Who has which address on the network of pods. Built-in modules only."""

from __future__ import annotations

PREFIX = 16
"""Of the network of pods, 10.244.0.0."""
BRIDGE = "kfcore0"
GATEWAY = "10.244.0.1"
"""The node, as pods see it: cluster IPs are behind it, and it is the name server."""
WAY_OUT = "10.244.0.2"
"""Other machines are behind it. It is the node too, by a device of its own, so that what listens for connections to any
address there does not listen at cluster IPs."""
WAY_OUT_DEVICE = "out0"
WAY_OUT_PORT = 15001
"""Where connections to any port arrive, on a kernel that can redirect them."""
HOST, HOST_NAME = "192.0.2.1", "host.kfcore.internal"
"""What stands for this machine's own loopback, for pods."""
SERVICES, SERVICES_PREFIX = "10.96.0.0", 12
"""The network of cluster IPs."""
OWN_NETWORKS = ("10.244.", "10.96.")
RESERVED = frozenset({"10.244.0.0", GATEWAY, WAY_OUT, "10.244.255.255"})


def hardware(address: str) -> bytes:
    """The six bytes of a device that has an IPv4 address: of whoever has that address, now and later.

    So what another pod remembers of an address stays true when the pod that had it is replaced, or when pods come to
    the bridge and go.
    """
    return b"\x0a\x58" + bytes(int(part) for part in address.split("."))

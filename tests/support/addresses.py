"""Addresses at which a port stays free: the ports of 127.0.0.1 go to the connections of every process."""

from __future__ import annotations

import random
import socket
import sys


def own_address() -> str:
    """A loopback address that nobody else has; where a machine has but one, that."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"


def free_place() -> str:
    """`HOST:PORT` to listen at, later."""
    address = own_address()
    with socket.socket() as listener:
        listener.bind((address, 0))
        return f"{address}:{listener.getsockname()[1]}"

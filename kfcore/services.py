"""How a Service is reached by somebody for whom the cluster's DNS does not answer. On a cluster nobody needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec


class OpenedService(msgspec.Struct, frozen=True):
    """An http URL that a path is appended to, and headers to send along."""

    url: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


ServiceDoor = Callable[[str, str, int], OpenedService | None]
"""Namespace, name and port of a Service → where it is; None while no pod is behind it."""

"""How pods are to be kept apart, as a user asks for it."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """`AUTO`: namespaces where this machine permits them; `POD`: those or nothing; `NONE`: plain processes."""

    AUTO = "auto"
    POD = "pod"
    NONE = "none"

"""What an operator process was started with, as every controller sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorOptions:
    """Options of an operator; the defaults suit a cluster.

    `kinds` limits the operator to these kinds (in any case; empty: all that are installed). `ttl_seconds` deletes
    finished jobs that set no `ttlSecondsAfterFinished` of their own; None keeps them.
    """

    kinds: tuple[str, ...] = ()
    workers: int = 1
    ttl_seconds: int | None = None
    init_container_image: str = "alpine:3.10"
    init_container_max_tries: int = 100

    def enables(self, kind: str) -> bool:
        return not self.kinds or kind.lower() in {name.lower() for name in self.kinds}

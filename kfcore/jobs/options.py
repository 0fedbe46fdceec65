"""What an operator process was started with, as every controller sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorOptions:
    """Options of an operator; the defaults suit a cluster.

    `kinds` limits the operator to these kinds (in any case; empty: all that are installed). `ttl_seconds` deletes
    finished jobs that set no `ttlSecondsAfterFinished` of their own; None keeps them. `gang_scheduler_name` turns gang
    scheduling on: `volcano`, or the name of a scheduler with the coscheduling of scheduler-plugins.
    `force_delete_seconds` removes pods that should have ended so long ago on a node that is lost; None waits for it.
    `init_container_template_file` is a YAML list of containers instead of the built-in one.
    """

    kinds: tuple[str, ...] = ()
    workers: int = 1
    ttl_seconds: int | None = None
    gang_scheduler_name: str = ""
    force_delete_seconds: float | None = None
    init_container_image: str = "alpine:3.10"
    init_container_max_tries: int = 100
    init_container_template_file: Path | None = None

    def enables(self, kind: str) -> bool:
        return not self.kinds or kind.lower() in {name.lower() for name in self.kinds}

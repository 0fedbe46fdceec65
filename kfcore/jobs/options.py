"""What an operator process was started with, as every controller sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from kfcore.services import ServiceDoor


class OperatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an operator; the defaults suit a cluster.

    `kinds` limits the operator to these kinds (in any case; empty: all that are installed). `workers_by_kind`
    (lower-case kinds) says of some kinds how many jobs are worked on at once, `workers` of the others. `ttl_seconds`
    deletes finished jobs that set no `ttlSecondsAfterFinished` of their own; None keeps them. `gang_scheduler_name`
    turns gang scheduling on: `volcano`, or the name of a scheduler with the coscheduling of scheduler-plugins.
    `force_delete_seconds` removes pods that should have ended so long ago on a node that is lost; None waits for it.
    `init_container_template_file` is a YAML list of containers instead of the built-in one. `service_door` says where a
    Service is, for an operator outside the cluster's DNS.
    """

    kinds: tuple[str, ...] = ()
    workers: int = 1
    workers_by_kind: Mapping[str, int] = msgspec.field(default_factory=dict)
    ttl_seconds: int | None = None
    gang_scheduler_name: str = ""
    force_delete_seconds: float | None = None
    init_container_image: str = "alpine:3.10"
    init_container_max_tries: int = 100
    init_container_template_file: Path | None = None
    service_door: ServiceDoor | None = None

    def enables(self, kind: str) -> bool:
        return not self.kinds or kind.lower() in {name.lower() for name in self.kinds}

    def workers_for(self, kind: str) -> int:
        return self.workers_by_kind.get(kind.lower(), self.workers)

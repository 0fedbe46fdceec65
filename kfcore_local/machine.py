"""What every container of this node shares: the API server, the time, and what this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore.controller.events import EventRecorder
from kfcore_local.gpus import Gpus
from kfcore_local.images import ImageMap
from kfcore_local.pod_network import PodNetwork
from kfcore_local.sandboxes import Sandboxes


class Machine(msgspec.Struct, frozen=True):
    client: Client
    clock: Clock
    recorder: EventRecorder
    sandboxes: Sandboxes
    node_name: str
    bin_directory: Path
    working_directory: Path
    images: ImageMap
    variables: Mapping[str, str]
    gpus: Gpus

    @property
    def network(self) -> PodNetwork:
        return self.sandboxes.network

    @property
    def host_ip(self) -> str:
        return self.sandboxes.network.host_ip

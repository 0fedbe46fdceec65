"""This machine's GPUs, as nvidia-smi lists them: the node offers them as `nvidia.com/gpu`, and each container that asks
for some gets devices of its own in CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from decimal import Decimal

import structlog

from kfcore.api.quantity import parse_quantity

log = structlog.get_logger(__name__)

GPU = "nvidia.com/gpu"
ANSWER_SECONDS = 20.0


class Gpus:
    """Which devices there are, and who has which. There are none until `find` has found some."""

    def __init__(self) -> None:
        self.devices: tuple[str, ...] = ()
        self._held: dict[tuple[str, str], tuple[str, ...]] = {}

    async def find(self) -> None:
        """Ask nvidia-smi; a machine without it has no GPUs. Those that CUDA_VISIBLE_DEVICES hides from kfcore are
        left alone."""
        if (program := shutil.which("nvidia-smi")) is None:
            return
        allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
        listed = await _lines(program, "--query-gpu=index,uuid", "--format=csv,noheader")
        found = [tuple(part.strip() for part in line.split(",")) for line in listed]
        visible = None if allowed is None else {part.strip() for part in allowed.split(",")}
        self.devices = tuple(
            names[0] for names in found if names[0].isdecimal() and (visible is None or visible.intersection(names))
        )

    def variables(self, pod: str, container: str, limits: Mapping[str, str | int | float]) -> dict[str, str]:
        """The devices of a container of a pod (its uid), taken if need be. As on a cluster, one that asks for none sees
        none."""
        if not self.devices:
            return {}
        count = int(parse_quantity(limits.get(GPU, 0)) or Decimal(0))
        if (pod, container) not in self._held:
            taken = {device for devices in self._held.values() for device in devices}
            free = [device for device in self.devices if device not in taken]
            self._held[pod, container] = tuple(free[:count])
        # By nvidia-smi's order: CUDA's own puts the fastest first.
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(self._held[pod, container])}

    def release(self, pod: str) -> None:
        """Take back what the containers of a pod have."""
        for holder in [holder for holder in self._held if holder[0] == pod]:
            del self._held[holder]


async def _lines(program: str, *arguments: str) -> list[str]:
    """What a program prints; nothing when it fails or hangs, as nvidia-smi does where a driver is broken."""
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        log.warning("gpus.not_found", error=str(error))
        return []
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        log.warning("gpus.not_found", error=f"{program} did not answer within {ANSWER_SECONDS:g} s")
        return []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        log.warning("gpus.not_found", error=f"{program} ended with {process.returncode}")
        return []
    return output.decode(errors="replace").splitlines()

"""The directories behind provisioned volumes: made, found and removed. Each has its volume's name, in one place."""

from __future__ import annotations

import shutil
from pathlib import Path

from kfcore_local.storage.kinds import Volume

PROVISIONER = "kfcore/local-directory"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


class Directories:
    """Those below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, volume: str) -> Path:
        """An empty directory that every user in a pod may write to, as provisioners make it; the one around it lets
        nobody else of this machine in. Raises OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.root / volume
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
        return path

    def has(self, volume: Volume) -> bool:
        """Whether it was made here: nothing else is ever removed, whatever a volume's annotations say."""
        ours = volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER
        return ours and Path(volume.path) == self.root / volume.name

    def remove(self, volume: Volume) -> None:
        """Raises OSError."""
        if self.has(volume) and Path(volume.path).exists():
            shutil.rmtree(volume.path)

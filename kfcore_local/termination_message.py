"""A container's last words: what it left in its message file, or the end of its log, within kubelet's limits."""

from __future__ import annotations

from pathlib import Path

from kfcore_local.container_log import ContainerLog, Selection

MOST_BYTES, MOST_BYTES_OF_POD = 4096, 12 * 1024
LOG_LINES, LOG_BYTES = 80, 2048


def make_file(path: Path) -> None:
    """An empty file for the next run, that every user of the container may write to. Raises OSError."""
    path.unlink(missing_ok=True)
    path.touch()
    path.chmod(0o666)


async def last_words(path: Path, policy: str, log: ContainerLog, *, failed: bool, containers: int) -> str:
    """Empty when there are none. The containers of a pod share a limit."""
    try:
        with path.open("rb") as file:
            said = file.read(min(MOST_BYTES, MOST_BYTES_OF_POD // max(containers, 1)))
    except OSError as error:
        return f"Error on reading termination message from logs: {error.strerror}"
    if not said and failed and policy == "FallbackToLogsOnError":
        chunks = [chunk async for chunk in log.read(Selection(tail=LOG_LINES))]
        said = b"".join(chunks)[-LOG_BYTES:]
    return said.decode(errors="replace")

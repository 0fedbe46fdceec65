"""A cluster of two processes, and a monkey that kills parts of it: the API server with everything around it, the
operator, what holds pods together, and what runs in them. What is left of it is looked for afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from patience import PATIENCE, eventually

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.cluster import ClusterClient, ConfigurationError
from kfcore.client.errors import ApiError, ConnectionFailed

KFCORE = str(Path(sys.executable).with_name("kfcore"))
POD = untyped(Pod.resource)


class Site:
    """Where a cluster and its operator run, over all their deaths. Everything of it is below one folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._port = port
        for part in ("cluster", "operator"):
            (folder / f"tmp-{part}").mkdir()
        (folder / "runtime").mkdir(mode=0o700)
        self._environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder / "runtime"),
            "KFCORE_CHAOS": str(folder),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, part: str) -> None:
        log = (self.folder / f"{part}.log").open("ab")
        if part == "cluster":
            command = [KFCORE, "local", "up", "--name", "chaos", "--without", "operator", "--port", str(self._port)]
            command += ["--data-dir", str(self.folder / "data"), "--kubeconfig", str(self.kubeconfig)]
        else:
            command = [KFCORE, "operator", "--kubeconfig", str(self.kubeconfig)]
            command += ["--metrics-bind-address", "0", "--health-probe-bind-address", "0"]
        with log:
            environment = {**self._environment, "TMPDIR": str(self.folder / f"tmp-{part}")}
            self._processes[part] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )

    def kill(self, part: str, number: signal.Signals) -> None:
        process = self._processes[part]
        process.send_signal(number)
        process.wait(timeout=PATIENCE)

    async def restart(self, part: str, number: signal.Signals) -> None:
        await asyncio.to_thread(self.kill, part, number)
        self.start(part)
        await self.answers()
        if part == "cluster" and self._processes["operator"].poll() is not None:
            self.start("operator")

    async def answers(self) -> None:
        """Once the API does."""

        async def asked() -> bool:
            with contextlib.suppress(ApiError, ConnectionFailed, ConfigurationError):
                async with await ClusterClient.connect(self.kubeconfig) as client:
                    await client.list(POD, "default")
                    return True
            return False

        await eventually(asked, "the API answers")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.start("cluster")
        try:
            yield
        finally:
            for part in reversed(list(self._processes)):
                process = self._processes[part]
                if process.poll() is None:
                    process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=PATIENCE)
                process.kill()
                process.wait()

    def processes(self) -> list[int]:
        """All that were started here, however far they went since: their environment says so."""
        mark = f"KFCORE_CHAOS={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes() and b") Z " not in (entry / "stat").read_bytes():
                        found.append(int(entry.name))
        return found

    def victims(self) -> list[int]:
        """Everything but the two processes themselves: supervisors, hubs, and what containers run."""
        return [pid for pid in self.processes() if pid not in [process.pid for process in self._processes.values()]]

    def mounts(self) -> list[str]:
        return [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]

    def log(self) -> str:
        """The last words of both, for a test that fails."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("*.log"))


class Monkey:
    """Does harm at random, the same for the same seed as far as the machine lets it be."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self.done: list[str] = []

    async def rage(self, seconds: float, pause: tuple[float, float]) -> None:
        deadline = time.monotonic() + seconds
        harms: Sequence[tuple[Callable[[], Awaitable[None]], int]] = (
            (self._kill_the_cluster, 2),
            (self._kill_the_operator, 2),
            (self._kill_a_process, 4),
            (self._delete_a_pod, 3),
            (self._stop_the_cluster_in_order, 1),
            (self._freeze_the_operator, 1),
        )
        actions, weights = zip(*harms, strict=True)
        while time.monotonic() < deadline:
            [action] = self._random.choices(actions, weights)
            self.done.append(action.__name__.lstrip("_"))
            await action()
            await asyncio.sleep(self._random.uniform(*pause))

    async def _kill_the_cluster(self) -> None:
        await self._site.restart("cluster", signal.SIGKILL)

    async def _stop_the_cluster_in_order(self) -> None:
        await self._site.restart("cluster", signal.SIGTERM)

    async def _kill_the_operator(self) -> None:
        await self._site.restart("operator", signal.SIGKILL)

    async def _freeze_the_operator(self) -> None:
        process = self._site._processes["operator"]
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1)
        process.send_signal(signal.SIGCONT)

    async def _kill_a_process(self) -> None:
        if victims := self._site.victims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(victims), signal.SIGKILL)

    async def _delete_a_pod(self) -> None:
        with contextlib.suppress(ApiError, ConnectionFailed, ConfigurationError):
            async with await ClusterClient.connect(self._site.kubeconfig) as client:
                pods = await client.list(POD, "default")
                if pods:
                    grace = self._random.choice([0, None])
                    name = self._random.choice([pod.name for pod in pods])
                    await client.delete(POD, name, "default", grace_period_seconds=grace)


def conditions(manifest: Manifest) -> set[str]:
    """The types of the conditions that are true."""
    return {item["type"] for item in manifest.get("status", {}).get("conditions") or [] if item["status"] == "True"}

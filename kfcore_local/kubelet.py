"""This machine's kubelet: pods bound to its node come in from a watch, each gets a worker that runs its containers as
processes, their logs are read back through `PodLogs`, and kubectl reaches them through `PodProcesses`.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.logs import LogOptions
from kfcore.apiserver.streaming import Streams
from kfcore.cache.informer import Change, Informer
from kfcore.cache.reflector import Selection
from kfcore.client.errors import BadRequest, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock, SystemClock
from kfcore.controller.events import EventRecorder
from kfcore_local import container_log, container_streams
from kfcore_local.container import Command, ContainerProcess
from kfcore_local.container_runner import ContainerRunner
from kfcore_local.gpus import Gpus
from kfcore_local.images import ImageMap
from kfcore_local.machine import Machine
from kfcore_local.memory_limits import MemoryLimits
from kfcore_local.node import keep_node
from kfcore_local.pod_worker import PodWorker
from kfcore_local.pods import LocalPod
from kfcore_local.sandboxes import Sandboxes, SharedMachine
from kfcore_local.usage import Owner

_NSLOOKUP = """\
#!/bin/sh
test -x {python} && test -r {source} && exec {python} -I {source} "$@"
for name; do
  case $name in -*) continue;; esac
  found=$(getent ahostsv4 "$name") || {{ echo "** server can't find $name: NXDOMAIN"; exit 1; }}
  for address in $(echo "$found" | cut -d ' ' -f 1 | sort -u); do
    printf 'Name:\\t%s\\nAddress: %s\\n' "$name" "$address"
  done
  exit 0
done
echo "Usage: nslookup NAME" >&2
exit 1
"""


class Kubelet:
    """Runs the pods of `node_name`. Keeps its files under `root`; containers that name no working directory run in
    `working_directory` (the one kfcore was started in). `images` has commands for images, and every
    container's environment starts with `variables`. Pods run in `sandboxes`: without, as plain processes.
    """

    def __init__(
        self,
        client: Client,
        *,
        node_name: str,
        root: Path,
        clock: Clock | None = None,
        working_directory: Path | None = None,
        images: ImageMap | None = None,
        variables: Mapping[str, str] | None = None,
        sandboxes: Sandboxes | None = None,
    ) -> None:
        self._client = client
        self._root = root
        self._clock = clock or SystemClock()
        self._workers: dict[str, PodWorker] = {}
        self._executed = 0
        root.mkdir(parents=True, exist_ok=True)
        self._machine = Machine(
            client=client,
            clock=self._clock,
            recorder=EventRecorder(client, "kubelet", self._clock),
            sandboxes=sandboxes or SharedMachine(client, root),
            node_name=node_name,
            bin_directory=install_tools(root / "bin"),
            working_directory=working_directory or Path.cwd(),
            images=images or ImageMap(),
            variables=variables or {},
            gpus=Gpus(),
        )

    async def run(self) -> None:
        """Until cancelled; no process of a pod is left then."""
        machine, network = self._machine, self._machine.network
        selection = Selection(field_selector=f"spec.nodeName={machine.node_name}")
        pods = Informer(self._client, LocalPod, clock=self._clock, selection=selection)

        directory = self._root / "pods"
        earlier = list(directory.iterdir()) if directory.exists() else []
        try:
            async with asyncio.TaskGroup() as group:
                pods.subscribe(lambda change: self._pod_changed(change, group))
                group.create_task(machine.recorder.run())
                group.create_task(MemoryLimits(self._runners, self._clock).run())
                group.create_task(network.run(self._client, self._clock))
                group.create_task(
                    keep_node(self._client, self._clock, machine.node_name, machine.host_ip, machine.gpus, self._root)
                )
                await network.wait_for_sync()
                group.create_task(pods.run())
                await pods.wait_for_sync()
                await asyncio.to_thread(_clear, [left for left in earlier if left.name not in self._workers])
        finally:
            self._workers.clear()

    async def flush_events(self) -> None:
        """Write the Events that were recorded so far."""
        await self._machine.recorder.flush()

    def _pod_changed(self, change: Change[LocalPod], group: asyncio.TaskGroup) -> None:
        uid = change.object.metadata.uid
        worker = self._workers.get(uid)
        if change.new is None:
            if worker is not None:
                worker.gone()
        elif worker is not None:
            worker.update(change.new)
        else:
            worker = self._workers[uid] = PodWorker(self._machine, change.new, self._root / "pods" / uid)
            group.create_task(self._run_worker(uid, worker))

    async def _run_worker(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self._workers.pop(uid, None)

    def _runners(self) -> list[ContainerRunner]:
        return [runner for worker in self._workers.values() for runner in worker.runners()]

    def containers(self) -> dict[Owner, int]:
        """The running containers, each with the process that all others of it are below."""
        return {
            (uid, container.name): running[0].supervisor_pid
            for uid, worker in self._workers.items()
            for container in (*worker.pod.spec.init_containers, *worker.pod.spec.containers)
            if (runner := worker.runner(container.name)) and (running := runner.running)
        }

    # ── PodLogs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Implements `kfcore.apiserver.logs.PodLogs`."""
        name = pod["metadata"]["name"]
        worker = self._workers.get(pod["metadata"].get("uid", ""))
        if worker is None:
            raise NotFound(f"pod {name!r} has no logs on this machine: it was run by an earlier kfcore or elsewhere")
        runner = worker.runner(container)
        wanted = None
        if runner is not None:
            run = _run_of(pod, container, previous=options.previous)
            wanted = runner.previous_log if options.previous and run is None else runner.log_of(run)
        if wanted is None:
            if options.previous:
                raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
            waiting = {} if runner is None else runner.record.state.get("waiting") or {}
            why = waiting.get("reason", "ContainerCreating")
            raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {why}')
        since = options.since_time
        if options.since_seconds is not None:
            since = self._clock.now() - timedelta(seconds=options.since_seconds)
        selection = container_log.Selection(
            follow=options.follow,
            timestamps=options.timestamps,
            since=since,
            tail=options.tail_lines,
            limit=options.limit_bytes,
        )
        async with aclosing(cast("AsyncGenerator[bytes, None]", wanted.read(selection))) as chunks:
            async for chunk in chunks:
                yield chunk

    # ── PodProcesses ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def execute(self, pod: Manifest, container: str, command: Sequence[str], streams: Streams) -> int:
        """Implements `kfcore.apiserver.streaming.PodProcesses`."""
        process, started = self._running(pod, container)
        self._executed += 1
        mark = f"kfcore://{pod['metadata']['uid']}/{container}/exec/{self._executed}"
        return await container_streams.execute(
            msgspec.structs.replace(started, argv=tuple(command)), process, mark, streams
        )

    async def attach(self, pod: Manifest, container: str, streams: Streams) -> int:
        """Implements `kfcore.apiserver.streaming.PodProcesses`."""
        process, _ = self._running(pod, container)
        lists = (pod["spec"].get(name) or () for name in ("containers", "initContainers", "ephemeralContainers"))
        found: Manifest = next((c for containers in lists for c in containers if c["name"] == container), {})
        return await container_streams.attach(process, streams, once=bool(found.get("stdinOnce")))

    async def connect(self, pod: Manifest, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Implements `kfcore.apiserver.streaming.PodProcesses`."""
        address = (pod.get("status") or {}).get("podIP") or ""
        return await self._machine.network.reach(pod["metadata"]["uid"], address, port)

    def _running(self, pod: Manifest, container: str) -> tuple[ContainerProcess, Command]:
        worker = self._workers.get(pod["metadata"].get("uid", ""))
        runner = worker.runner(container) if worker is not None else None
        running = runner.running if runner is not None else None
        if running is None:
            raise BadRequest(f'container not found ("{container}"): it does not run on this machine now')
        return running


def _run_of(pod: Manifest, container: str, *, previous: bool) -> int | None:
    """Which run of a container somebody means who has seen its pod like this: the present, or the last that ended."""
    lists = (pod.get("status", {}).get(f"{kind}Statuses") or () for kind in ("container", "initContainer"))
    status: Manifest = next((s for statuses in lists for s in statuses if s["name"] == container), {})
    if not previous:
        return status.get("restartCount")
    ended = (status.get("lastState") or {}).get("terminated") or {}
    _, _, run = ended.get("containerID", "").rpartition("/")
    return int(run) if run.isdecimal() else None


def _clear(directories: Iterable[Path]) -> None:
    """Remove what pods left that went while no kubelet ran."""
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def install_tools(directory: Path) -> Path:
    """The programs that a pod finds before the machine's own. A user who may not run our Python has `getent`."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "nslookup"
    python, source = shlex.quote(sys.executable), shlex.quote(str(Path(__file__).with_name("nslookup.py")))
    script.write_text(_NSLOOKUP.format(python=python, source=source), encoding="utf-8")
    script.chmod(0o755)
    return directory.resolve()

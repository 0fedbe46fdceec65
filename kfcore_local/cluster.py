"""This machine as a cluster, in one process: the API server and its HTTP door, scheduler, kubelet, workload controllers
and the operator. What it is used for is `kfcore_local.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from kfcore.api.crd import crd
from kfcore.api.meta import Manifest
from kfcore.apiserver.authentication import ADMIN
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.kubeconfig import CONTEXT, write_kubeconfig
from kfcore.apiserver.logs import LogOptions
from kfcore.apiserver.metrics import Measured
from kfcore.apiserver.namespace_contents import NamespaceContents
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.streaming import Streams
from kfcore.apiserver.tls import ServerCertificate, ephemeral_certificate
from kfcore.client.errors import InsufficientStorage, ServiceUnavailable
from kfcore.client.rest import RestClient
from kfcore.clock import Clock, SystemClock
from kfcore.controller.manager import Manager
from kfcore.jobs.gang import gang_scheduler
from kfcore.plugins import OperatorOptions, PluginSet, load_plugins
from kfcore.testing.client import schemaless_crd
from kfcore.testing.transport import InProcessTransport
from kfcore_local import kept_secrets
from kfcore_local.autoscaling import add_autoscaler
from kfcore_local.gang import add_gang_scheduler, pod_group_crd
from kfcore_local.gateway import Gateway
from kfcore_local.gateway_routes import VirtualService
from kfcore_local.images import ImageMap
from kfcore_local.isolation.choose import start_hub
from kfcore_local.isolation.hub_client import Hub, NotIsolated
from kfcore_local.isolation.mode import Isolation
from kfcore_local.isolation.network import API_NAMES
from kfcore_local.isolation.sandboxes import IsolatedSandboxes
from kfcore_local.kubelet import Kubelet, install_tools
from kfcore_local.sandboxes import Sandboxes, SharedMachine
from kfcore_local.scheduler import Scheduler
from kfcore_local.scratch import scratch_directory
from kfcore_local.storage import add_storage_controllers, make_default_class
from kfcore_local.troubles import CannotStart, taking_port, writing
from kfcore_local.usage import Meter, Owner
from kfcore_local.workloads import add_workload_controllers

NODE = "local"
MEASURE_SECONDS = 10.0
"""Between two looks at what containers use, for autoscalers and `kubectl top`."""
PARTS = ("kubelet", "scheduler", "controllers", "operator")


class KubeconfigInTheWay(CannotStart):
    """The file to write is there and is not ours, so that it stays as it is."""


class LocalCluster:
    """Everything up while the block runs; nothing left when it ends: no process, no file, no socket.

    `without` names parts to leave out (`PARTS`). `kubeconfig` is the file that points kubectl here (None: one beside
    the cluster's own state). `tls`: serve HTTPS, where `cryptography` is there. `options` are the operator's; of a
    gang scheduler that they name, the cluster plays the part. When a part fails, the block is cancelled and its error
    raised.
    """

    def __init__(
        self,
        *,
        without: Collection[str] = (),
        kubeconfig: Path | None = None,
        port: int = 0,
        tls: bool = True,
        plugins: PluginSet | None = None,
        options: OperatorOptions | None = None,
        clock: Clock | None = None,
        data_dir: Path | None = None,
        images: ImageMap | None = None,
        gateway_port: int = 0,
        isolation: Isolation = Isolation.AUTO,
    ) -> None:
        if unknown := set(without) - set(PARTS):
            raise ValueError(f"cannot leave out {', '.join(sorted(unknown))}: expected some of {', '.join(PARTS)}")
        self.clock = clock or SystemClock()
        self.plugins = plugins or load_plugins()
        self.options = options or OperatorOptions()
        self._gang = gang_scheduler(self.options.gang_scheduler_name)
        self._secrets = kept_secrets.fresh() if data_dir is None else kept_secrets.load(data_dir)
        self._without = frozenset(without)
        self._kubeconfig = kubeconfig
        self._port = port
        self._data_dir = data_dir
        self._images = images or ImageMap.parse(())
        self._gateway_port = gateway_port
        self._isolation = isolation
        self._tls = tls
        self._stack = AsyncExitStack()
        self.client: RestClient
        self.gateway: Gateway | None = None
        self.note = ""
        """What a user must know about how pods are kept apart here; empty when there is nothing."""
        self.url: str
        self.authority: bytes | None = None
        self.kubeconfig: Path
        self.logs = _KubeletAccess()
        self._meter = Meter(self.containers, self.clock)

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                self._stack = stack.pop_all()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1 and isinstance(group.exceptions[0], CannotStart):
                raise group.exceptions[0] from None  # the parts that ran already had nothing to do with it
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if group.exceptions == (error,):
                return False  # the block's own error goes on as what it is
            raise

    async def _start(self, stack: AsyncExitStack) -> None:
        root = stack.enter_context(scratch_directory())
        hub: asyncio.Future[tuple[Hub | None, str]] | None = None
        if "kubelet" not in self._without:
            hub = asyncio.ensure_future(start_hub(self._isolation, root / "isolation"))
            stack.push_async_callback(_stop, hub)
        certificate = asyncio.ensure_future(asyncio.to_thread(_certificate)) if self._tls else None
        server = ApiServer(
            clock=self.clock,
            pod_logs=self.logs,
            data_dir=self._data_dir,
            pod_processes=self.logs,
            measures=self._measures,
            tokens={self.token: ADMIN},
            service_accounts=not self._without & {"controllers", "kubelet"},
            signing_key=self._secrets.key,
        )
        stack.push_async_callback(server.close)
        for _, controller in self.plugins.controllers:
            server.install_crd(crd(controller.kind), trusted=True)
        if self._gang is not None:
            server.install_crd(pod_group_crd(self._gang.kind.resource))
        self.client = RestClient(InProcessTransport(server, record=False))
        if "controllers" not in self._without:
            try:
                await make_default_class(self.client)
            except InsufficientStorage as error:
                why = str(error).splitlines()[0]
                raise CannotStart(f"{why}; make room there, or choose another --data-dir") from error
        tls = await certificate if certificate is not None else None
        http = await self._open_door(server, tls)
        stack.push_async_callback(http.stop)
        self.url, self.authority = http.url, http.authority
        if "controllers" not in self._without:
            NamespaceContents(server.objects, (http.authority or b"").decode())
        self.kubeconfig = self._kubeconfig or root / "kubeconfig"
        with writing("the kubeconfig", self.kubeconfig, "choose another file for --kubeconfig"):
            _write(self.kubeconfig, self.url, self.token, http.authority)
        stack.callback(_remove, self.kubeconfig, self.token)
        group = await stack.enter_async_context(asyncio.TaskGroup())

        def run(part: Callable[[], Awaitable[None]]) -> None:
            task = group.create_task(_run(part))
            stack.push_async_callback(_end, task)

        # The kubelet registers the node: without one there is nothing to bind a pod to, and a bound pod is deleted only
        # when its kubelet says so.
        if not self._without & {"scheduler", "kubelet"}:
            run(Scheduler(self.client, gang=self._gang, clock=self.clock).run)
        if hub is not None:
            kept = self._data_dir or root
            sandboxes = self._sandboxes(*await hub, kept / "kubelet", root)
            self.note = sandboxes.note
            server_token = secrets.token_urlsafe(32)
            elsewhere = "choose another --data-dir" if self._data_dir else "set TMPDIR to another place"
            with writing("the kubelet's files to", kept / "kubelet", f"make room there, or {elsewhere}"):
                kubelet = Kubelet(
                    self.client,
                    node_name=NODE,
                    root=kept / "kubelet",
                    clock=self.clock,
                    images=self._images,
                    variables={"JUPYTER_TOKEN": server_token},
                    sandboxes=sandboxes,
                )
            self.logs.kubelet = kubelet
            run(kubelet.run)
            run(partial(self._meter.keep_measuring, MEASURE_SECONDS))
            server.install_crd(schemaless_crd(VirtualService.resource))
            gateway = Gateway(
                self.client,
                clock=self.clock,
                server_token=server_token,
                port=self._gateway_port,
                open_socket=sandboxes.network.open_socket,
            )
            stack.push_async_callback(gateway.stop)
            with taking_port(self._gateway_port, "--gateway-port"):
                await gateway.start()
            run(gateway.run)
            self.gateway = gateway
            self.options = msgspec.structs.replace(self.options, service_door=gateway.door)
        if manager := self._manager(root):
            run(manager.run)

    def containers(self) -> dict[Owner, int]:
        """The running containers, each with the process that all others of it are below; none without a kubelet."""
        return self.logs.kubelet.containers() if self.logs.kubelet else {}

    def _measures(self) -> Measured | None:
        meter = self._meter
        if meter.at is None or meter.machine is None:
            return None
        containers = {owner: (usage.cores, usage.memory) for owner, usage in meter.usage.items()}
        return Measured(meter.at, meter.window, containers, {NODE: (meter.machine.cores, meter.machine.memory)})

    def _sandboxes(self, hub: Hub | None, why_not: str, kubelet_root: Path, root: Path) -> Sandboxes:
        if hub is None:
            return SharedMachine(self.client, kubelet_root, why_not, api=self.url)
        hidden = [root, self.kubeconfig, *([self._data_dir] if self._data_dir else [])]
        port = urlsplit(self.url).port or 0
        tools = install_tools(kubelet_root / "bin")
        return IsolatedSandboxes(hub, self.client, hidden=hidden, tools=tools, api_port=port)

    async def _open_door(self, server: ApiServer, tls: ServerCertificate | None) -> HttpServer:
        """On the port that was asked for; else on the one of last time, where it is free."""
        ports = [self._port] if self._port or not self._secrets.port else [self._secrets.port, 0]
        for port in ports:
            http = HttpServer(server, token=self.token, port=port, tls=tls, also=API_NAMES)
            with taking_port(self._port, "--port"):
                try:
                    await http.start()
                except OSError:
                    if port == ports[-1]:
                        raise
                    continue
            break
        if self._data_dir is not None:
            port = urlsplit(http.url).port or 0
            with writing("the cluster's secrets", self._data_dir, "choose another --data-dir"):
                kept_secrets.save(self._data_dir, msgspec.structs.replace(self._secrets, port=port))
        return http

    @property
    def token(self) -> str:
        """The administrator's."""
        return self._secrets.token

    def _manager(self, root: Path) -> Manager | None:
        """One for all controllers of this process, so that they share what they watch."""
        manager = Manager(self.client, clock=self.clock)
        if "controllers" not in self._without:
            add_workload_controllers(manager)
            add_autoscaler(manager, lambda: self._meter.usage)
            add_storage_controllers(manager, (self._data_dir or root) / "volumes")
        if "operator" not in self._without:
            self.plugins.setup(manager, self.options)
        if self._gang is not None and not self._without & {"scheduler", "kubelet"}:
            add_gang_scheduler(manager, self._gang)
        return manager if manager.controllers else None


def _write(path: Path, url: str, token: str, authority: bytes | None) -> None:
    if path.exists() and not _is_ours(path):
        raise KubeconfigInTheWay(
            f"{path} is there and was not written by kfcore; it stays as it is: choose another file for --kubeconfig"
        )
    write_kubeconfig(path, url, token, authority=authority)


def _certificate() -> ServerCertificate | None:
    """None where `cryptography` is missing: the API is served without TLS then."""
    try:
        return ephemeral_certificate(API_NAMES)
    except ImportError:
        return None


def _is_ours(path: Path) -> bool:
    """Whether kfcore wrote it: such a file holds one context, of our name."""
    config = _read(path)
    contexts = config.get("contexts")
    return isinstance(contexts, list) and [c.get("name") for c in contexts if isinstance(c, dict)] == [CONTEXT]


def _remove(path: Path, token: str) -> None:
    """Remove the kubeconfig, unless another instance has put its own in its place."""
    with contextlib.suppress(KeyError, IndexError, TypeError):
        if _read(path)["users"][0]["user"]["token"] == token:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


class _KubeletAccess:
    """The kubelet's logs and processes, for the API server that is there before it."""

    def __init__(self) -> None:
        self.kubelet: Kubelet | None = None

    async def read(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if self.kubelet is None:
            raise ServiceUnavailable("no kubelet runs in this cluster, so there are no logs")
        async for chunk in self.kubelet.read(pod, container, options):
            yield chunk

    async def execute(self, pod: Manifest, container: str, command: Sequence[str], streams: Streams) -> int:
        return await self._there().execute(pod, container, command, streams)

    async def attach(self, pod: Manifest, container: str, streams: Streams) -> int:
        return await self._there().attach(pod, container, streams)

    async def connect(self, pod: Manifest, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.kubelet is None:
            raise ConnectionRefusedError("no kubelet runs in this cluster")
        return await self.kubelet.connect(pod, port)

    def _there(self) -> Kubelet:
        if self.kubelet is None:
            raise ServiceUnavailable("no kubelet runs in this cluster, so no container runs")
        return self.kubelet


async def _stop(hub: asyncio.Future[tuple[Hub | None, str]]) -> None:
    with contextlib.suppress(NotIsolated):
        started, _ = await hub
        if started is not None:
            await started.stop()


async def _run(part: Callable[[], Awaitable[None]]) -> None:
    await part()


async def _end(task: asyncio.Task[None]) -> None:
    """Stop a part and wait until it has cleaned up; how it failed, if it did, is the task group's to tell."""
    task.cancel()
    await asyncio.wait([task])

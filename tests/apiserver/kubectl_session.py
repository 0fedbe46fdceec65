"""A running in-process API and a real kubectl pointed at it, for the tests of `test_kubectl*.py`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until

from kfcore.api.meta import Manifest
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.apiserver.logs import LogOptions
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.apiserver.tls import ephemeral_certificate

KUBECTL = shutil.which("kubectl") or ""
TOKEN = "a-token-for-tests"
_count = itertools.count()

WIDGET: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                  "shortNames": ["wd"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
                "additionalPrinterColumns": [
                    {"name": "State", "type": "string", "jsonPath": ".status.conditions[-1:].type"},
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A widget of some size.",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"size": {"type": "integer", "description": "How big it is."}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}  # fmt: skip

PODS: dict[str, Manifest] = {
    "running": {
        "phase": "Running",
        "podIP": "10.1.1.1",
        "podIPs": [{"ip": "10.1.1.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "c", "ready": True, "started": True, "restartCount": 0, "image": "busybox", "imageID": "",
                "lastState": {}, "state": {"running": {"startedAt": "2024-01-01T00:00:00Z"}},
            }
        ],
    },
}  # fmt: skip
"""Statuses that a kubelet would write."""


def a_pod(name: str, *, containers: tuple[str, ...] = ("c",), node: str = "n1", **labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": c, "image": "busybox"} for c in containers]},
    }


def a_widget(name: str, *, size: int = 1) -> Manifest:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}}


class ThreeLines:
    """The log of every container: three lines, and what a test adds while it is followed."""

    def __init__(self) -> None:
        self.more: asyncio.Queue[str | None] = asyncio.Queue()

    async def read(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        stamp = "2024-01-01T00:00:00Z " if options.timestamps else ""
        lines = [f"{stamp}{container} line {number}\n".encode() for number in (1, 2, 3)]
        if options.tail_lines is not None:
            lines = lines[len(lines) - options.tail_lines :]
        yield b"".join(lines)[: options.limit_bytes]
        while options.follow and (line := await self.more.get()) is not None:
            yield f"{line}\n".encode()


class NotingApiServer(ApiServer):
    """Notes the path of every watch that it has begun: what changes from then on, the watcher hears."""

    def __init__(self, pod_logs: ThreeLines) -> None:
        super().__init__(pod_logs=pod_logs)
        self.watched: list[str] = []

    async def handle(self, request: Request) -> Response:
        answer = await super().handle(request)
        if request.query.get("watch") in ("1", "true"):
            self.watched.append(request.path)
        return answer


class Serving:
    """The API in a thread of its own, so that a blocking kubectl can talk to it."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.logs = ThreeLines()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(PATIENCE)
        write_kubeconfig(self.kubeconfig, self.url, TOKEN, authority=self._http.authority)

    async def _start(self) -> str:
        self.api = NotingApiServer(self.logs)
        self.api.install_crd(WIDGET)
        self._http = HttpServer(self.api, token=TOKEN, tls=ephemeral_certificate())
        await self._http.start()
        return self._http.url

    async def _stop(self) -> None:
        await self._http.stop()
        await self.api.close()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@dataclass(frozen=True, slots=True)
class Printed:
    out: str
    err: str

    @property
    def columns(self) -> list[list[str]]:
        """The lines as words; an AGE at the end, which changes as one looks, is left out below the header."""
        rows = [line.split() for line in self.out.splitlines()]
        if rows and rows[0][-1:] == ["AGE"]:
            return [rows[0], *(row[:-1] for row in rows[1:])]
        return rows


class Following:
    """A kubectl that goes on."""

    def __init__(self, process: subprocess.Popen[str], watched: Callable[[], int]) -> None:
        self._process = process
        self._watched = watched
        self._watched_before = watched()

    def until_it_watches(self) -> None:
        """Wait until it would hear of a change in its namespace."""

        def it_does() -> bool:
            assert self._process.poll() is None, f"kubectl has ended with {self._process.returncode}"
            return self._watched() > self._watched_before

        wait_until(it_does, "a watch by kubectl")

    def line(self) -> str:
        """The next line; empty when kubectl has ended."""
        assert self._process.stdout is not None
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()


class Kubectl:
    """Runs kubectl in a namespace of the test's own."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self._serving = serving
        self.url = serving.url
        self.namespace = f"test-{next(_count)}"
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "KUBECONFIG": str(serving.kubeconfig),
            "KUBE_EDITOR": "true",
        }
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self("create", "-f", "-", stdin=json.dumps(namespace))

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [KUBECTL, "-n", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments),
            input=stdin,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Printed:
        done = self.run(*arguments, stdin=stdin, **environment)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return Printed(done.stdout, done.stderr)

    def fails(self, *arguments: str, stdin: str = "", **environment: str) -> Printed:
        done = self.run(*arguments, stdin=stdin, **environment)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)}: {done.stdout}"
        return Printed(done.stdout, done.stderr)

    @contextmanager
    def running(self, *arguments: str, stderr: int | None = None) -> Iterator[Following]:
        with subprocess.Popen(
            self._command(arguments), env=self._environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process:
            try:
                yield Following(process, self._watches_of_mine)
            finally:
                process.kill()

    def _watches_of_mine(self) -> int:
        return sum(f"/namespaces/{self.namespace}/" in path for path in self._serving.api.watched)

    def apply(self, *manifests: Manifest) -> Printed:
        return self("apply", "-f", "-", stdin=as_list(*manifests))

    def set_status(self, target: str, status: Manifest) -> None:
        self("patch", target, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def event(self, kind: str, name: str, reason: str, message: str, *, api_version: str = "v1") -> None:
        """Record an event about an object, as a controller would."""
        number = next(_count)
        time = datetime.now(UTC) - timedelta(seconds=1000 - number)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{number}"},
            "involvedObject": {
                "apiVersion": api_version,
                "kind": kind,
                "name": name,
                "namespace": self.namespace,
                "uid": self("get", kind, name, "-o", "jsonpath={.metadata.uid}").out,
            },
            "type": "Normal",
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": {"component": "tests"},
        }
        self("create", "-f", "-", stdin=json.dumps(event))

    def log_line(self, line: str | None) -> None:
        """Append to the logs that are followed; None ends them."""
        self._serving.loop.call_soon_threadsafe(self._serving.logs.more.put_nowait, line)


def as_list(*manifests: Manifest) -> str:
    """Manifests as one file, in the order given."""
    return "".join(f"---\n{json.dumps(manifest)}\n" for manifest in manifests)


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """A running API; the calling test module is skipped, visibly, where there is no kubectl."""
    if not KUBECTL:
        pytest.skip("no kubectl on PATH: install one to run these tests")
    served = Serving(folder)
    try:
        yield served
    finally:
        served.stop()

"""A `kfcore local up` with two pods, for the tests of kubectl and other clients against running containers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KUBECTL = shutil.which("kubectl") or ""
KFCORE = str(Path(sys.executable).with_name("kfcore"))
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: python:3.11
    workingDir: WORKDIR
    env: [{name: GREETING, value: hello}]
    command: [PYTHON, -u, -c, "import http.server as h; print('ready');
      h.ThreadingHTTPServer(('127.0.0.1', PORT), h.SimpleHTTPRequestHandler).serve_forever()"]
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox
    stdin: true
    stdinOnce: true
    command: [sh, -c, 'while read line; do echo "got $line"; done; exit 4']
"""


class Cluster:
    """The cluster of a test module: its files, and kubectl pointed at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.environment = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(self.kubeconfig)}
        self.port = _free_port()
        """What the pod `server` serves on."""

    @property
    def pods(self) -> str:
        """The manifests of the two pods."""
        manifest = PODS.replace("PYTHON", sys.executable).replace("PORT", str(self.port))
        return manifest.replace("WORKDIR", str(self.folder))

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([KUBECTL, *arguments], input=stdin, env=self.environment, capture_output=True, timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Nothing may be left unfinished, or raised, in a cluster that has ended."""
    made = Cluster(folder)
    command = [KFCORE, "local", "up", "--kubeconfig", str(made.kubeconfig), "--without", "operator"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"https://" in process.stdout.readline()
            yield made
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert b"Task was destroyed" not in said
    assert b"Traceback" not in said

"""A `kfcore local up` with two pods, for the tests of kubectl and other clients against running containers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import PATIENCE
from ports import reserved_port

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
    command: [PYTHON, -u, -c, "import http.server as h;
      s = h.ThreadingHTTPServer(('127.0.0.1', PORT), h.SimpleHTTPRequestHandler); print('ready');
      open('listening', 'w').close(); s.serve_forever()"]
    readinessProbe:
      exec: {command: [test, -e, WORKDIR/listening]}
      periodSeconds: 1
      timeoutSeconds: 60
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

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.environment = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(self.kubeconfig)}
        self.port = port
        """What the pod `server` serves on."""

    @property
    def pods(self) -> str:
        """The manifests of the two pods."""
        manifest = PODS.replace("PYTHON", sys.executable).replace("PORT", str(self.port))
        return manifest.replace("WORKDIR", str(self.folder))

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = [KUBECTL, *arguments]
        return subprocess.run(command, input=stdin, env=self.environment, capture_output=True, timeout=2 * PATIENCE)

    def through_cat(self, data: bytes) -> bytes:
        """What comes back of what is sent through `cat` in the pod `server`."""
        done = self.kubectl("exec", "-i", "server", "--", "cat", stdin=data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_pods(self) -> None:
        """Both pods, once they are ready."""
        applied = self.kubectl("apply", "-f", "-", stdin=self.pods.encode())
        assert applied.returncode == 0, applied.stderr
        ready = self.kubectl("wait", "--for=condition=Ready", "pod/server", "pod/reader", f"--timeout={PATIENCE:g}s")
        assert ready.returncode == 0, ready.stderr


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Nothing may be left unfinished, or raised, in a cluster that has ended."""
    command = [KFCORE, "local", "up", "--kubeconfig", str(folder / "kubeconfig"), "--without", "operator"]
    with (
        reserved_port() as port,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        made = Cluster(folder, port)
        try:
            assert process.stdout is not None
            assert b"https://" in process.stdout.readline()
            yield made
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
            print(said.decode())  # for a test that fails
    assert b"Task was destroyed" not in said
    assert b"Traceback" not in said

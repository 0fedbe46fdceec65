"""kubectl before 1.30 reaches the processes of pods over SPDY, not WebSockets: as a newer one does that is told to."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from up_cluster import KUBECTL, Cluster, running_cluster

pytestmark = pytest.mark.skipif(not KUBECTL, reason="no kubectl on PATH: install one to run these tests")
OLDER = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("older")) as made:
        made.environment |= OLDER
        made.start_pods()
        yield made


def test_it_speaks_spdy(cluster: Cluster) -> None:
    done = cluster.kubectl("exec", "-v=8", "server", "--", "true")
    assert b"Upgrade: SPDY/3.1" in done.stderr


def test_exec_gives_the_output_and_tells_the_exit_code(cluster: Cluster) -> None:
    done = cluster.kubectl("exec", "server", "--", "sh", "-c", "echo $GREETING; echo oops >&2; exit 3")
    assert done.stderr.decode().splitlines() == ["oops", "command terminated with exit code 3"]
    assert (done.stdout, done.returncode) == (b"hello\n", 3)


def test_exec_takes_input_to_its_end_and_gives_as_much_output(cluster: Cluster) -> None:
    data = os.urandom(3_000_000)
    assert cluster.through_cat(data) == data


def test_exec_of_what_is_not_there_is_an_error(cluster: Cluster) -> None:
    assert b'pods "nobody" not found' in cluster.kubectl("exec", "nobody", "--", "true").stderr


def test_cp_takes_a_file_into_the_container(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("written")
    copied = cluster.kubectl("cp", str(tmp_path / "note"), "server:note")
    assert copied.returncode == 0, copied.stderr
    assert cluster.kubectl("exec", "server", "--", "cat", "note").stdout == b"written"


def test_port_forward_carries_connections(cluster: Cluster) -> None:
    command = [KUBECTL, "port-forward", "--address", "127.0.0.1", "pod/server", f":{cluster.port}"]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found is not None
            for _ in range(3):
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=60) as answer:
                    assert answer.status == 200
        finally:
            process.kill()

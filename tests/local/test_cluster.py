"""`kfcore local up`: what it prints, whom it lets in, what it leaves out, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE, lines_until

from kfcore.api.core import Pod
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import Unauthorized
from kfcore_local.cluster import LocalCluster
from kfcore_local.instances import runtime_directory
from kfcore_pytorch import PyTorchJob

KFCORE = str(Path(sys.executable).with_name("kfcore"))
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "hello"},
    "spec": {"containers": [{"name": "main", "image": "any", "command": ["true"]}], "restartPolicy": "Never"},
}


@contextmanager
def up(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, running, and the first part of what it printed."""
    command = [KFCORE, "local", "up", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, "".join(lines_until("", process.stdout))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)


async def test_it_prints_where_it_is_and_writes_a_kubeconfig_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    with up("--kubeconfig", str(path)) as (process, printed):
        assert re.match(r"Kubernetes API on this machine: https://127\.0\.0\.1:\d+\n", printed)
        assert str(path) in printed
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with await ClusterClient.connect(path) as client:
            assert await client.list(PyTorchJob) == []
    assert process.returncode == 0
    assert not path.exists()


async def test_two_instances_serve_side_by_side(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with up("--kubeconfig", str(first)), up("--kubeconfig", str(second)):
        async with await ClusterClient.connect(first) as one, await ClusterClient.connect(second) as other:
            await one.create(Pod, POD, "default")
            assert await other.list(Pod) == []


def test_a_file_that_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncontexts: [{name: production}]\n")
    ended = subprocess.run(
        [KFCORE, "local", "up", "--kubeconfig", str(path)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{path} is there and was not written by kfcore")
    assert "production" in path.read_text()


async def test_the_operator_can_run_beside_it(tmp_path: Path) -> None:
    """The same job, served by `kfcore operator` over HTTP."""
    path = tmp_path / "kubeconfig"
    job = (Path(__file__).parents[2] / "examples" / "pytorch" / "single.yaml").read_text()
    with up("--kubeconfig", str(path), "--without", "operator") as (_, printed):
        assert "(without operator)" in printed
        # Its usual ports may be somebody else's on this machine.
        options = ("--metrics-bind-address", "0", "--health-probe-bind-address", "0", "--kind", "PyTorchJob")
        operator = await asyncio.create_subprocess_exec(
            KFCORE, "operator", "--kubeconfig", str(path), *options, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with await ClusterClient.connect(path) as client:
                created = await client.create(PyTorchJob, yaml.safe_load(job))
                changes = client.watch(PyTorchJob, resource_version=created.metadata.resource_version)
                async with asyncio.timeout(PATIENCE), aclosing(changes):
                    ended = await anext(
                        event.object
                        async for event in changes
                        if event.type == "MODIFIED" and event.object.status.finished
                    )
        finally:
            if operator.returncode is None:
                operator.terminate()
            _, said = await operator.communicate()
        assert operator.returncode == 0, said.decode()
    assert ended.status.is_true("Succeeded")


async def test_without_its_parts_it_is_a_bare_api() -> None:
    async with LocalCluster(without=("kubelet", "scheduler", "controllers", "operator")) as cluster:
        pod = await cluster.client.create(Pod, POD, "default")
        assert (pod.status.phase, pod.spec.node_name) == ("Pending", "")


async def test_without_a_kubelet_there_is_no_node_and_a_pod_goes_at_once_when_it_is_deleted() -> None:
    async with LocalCluster(without=("kubelet", "controllers", "operator")) as cluster:
        await cluster.client.create(Pod, POD, "default")
        await asyncio.sleep(0.3)
        await cluster.client.delete(Pod, POD["metadata"]["name"], "default")
        assert list(await cluster.client.list(Pod)) == []


async def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot leave out kublet: expected some of kubelet, scheduler"):
        LocalCluster(without=("kublet",))


async def test_who_has_no_token_is_not_let_in() -> None:
    async with (
        LocalCluster(without=("kubelet", "operator", "controllers")) as cluster,
        await ClusterClient.at(cluster.url, token="guess", authority=cluster.authority) as client,
    ):
        with pytest.raises(Unauthorized):
            await client.list(Pod)


async def test_the_error_of_the_block_goes_on_as_what_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with LocalCluster(without=("operator",)):
            raise KeyError("mine")


def test_a_user_without_a_home_has_a_place_for_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = runtime_directory()
    assert directory == tmp_path / f"kfcore-{os.getuid()}"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_others_may_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"kfcore-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert runtime_directory() != planted

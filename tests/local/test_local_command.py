"""`kfcore local up -d`, `status`, `logs`, `stop`, `reset`, `--data-dir`, `--merge-kubeconfig`: as a user types them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE, eventually, wait_until

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.cluster import ClusterClient
from kfcore_local import instances
from kfcore_local.instances import InstanceError

KFCORE = str(Path(sys.executable).with_name("kfcore"))
POD = untyped(Pod.resource)


class Home:
    """A user's own directories, in which clusters leave what they need and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime = path / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.env = {
            **os.environ,
            "HOME": str(path),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "KUBECONFIG": str(path / "kubeconfig"),
        }

    def local(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [KFCORE, "local", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=PATIENCE, cwd=self.path)

    def up(self, *arguments: str) -> Path:
        """Start one in the background; its kubeconfig."""
        ended = self.local("up", "-d", *arguments)
        assert ended.returncode == 0, ended.stderr
        found = re.search(r"^kubeconfig: (.*)$", ended.stdout, re.M)
        assert found is not None
        return Path(found[1])

    def kill(self, name: str = "kfcore") -> None:
        """As a crash or the kernel would; it is gone afterwards."""
        facts = json.loads((self.runtime / "kfcore" / "clusters" / name / "instance.json").read_text())
        os.kill(int(facts["pid"]), signal.SIGKILL)
        wait_until(lambda: has_ended(int(facts["pid"])))


def has_ended(pid: int) -> bool:
    """Whether none of its threads holds a file or a lock any more; it may still wait to be reaped."""
    try:
        threads, stat = os.listdir(f"/proc/{pid}/task"), Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return len(threads) == 1 and stat.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.local("stop", "--all")


def test_two_clusters_run_in_the_background_are_shown_and_ended(home: Home) -> None:
    assert home.local("status").returncode == 1
    first, second = home.up("--without", "operator"), home.up("--name", "other", "--without", "operator")
    assert first != second
    shown = home.local("status")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["NAME", "kfcore", "other"]
    assert "no answer" not in shown.stdout
    assert home.local("status", "--name", "third").stdout == "no cluster named third is running\n"
    taken = home.local("up", "-d", "--name", "other")
    assert (taken.returncode, taken.stderr.splitlines()[0].partition(":")[0]) == (
        2,
        "a cluster named other runs already",
    )
    assert "Kubernetes API on this machine" in home.local("logs", "--name", "other").stdout
    assert home.local("stop", "--name", "other").stdout == "other has ended\n"
    assert not second.exists()
    assert home.local("stop").returncode == 0
    assert home.local("stop").returncode == 2
    assert home.local("status").returncode == 1


def test_one_that_cannot_come_up_says_why(home: Home) -> None:
    (home.path / "file").write_text("")
    ended = home.local("up", "-d", "--data-dir", "file")
    assert ended.returncode == 2
    assert "as a data directory" in ended.stderr
    assert home.local("up", "--name", "No Name").stderr.startswith("'No Name' is no name for a cluster")


def test_a_name_is_free_however_long_somebody_looks_whether_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with instances.claimed("mine") as (_, directory):
        assert instances.is_alive("mine")
    looking = (directory / "lock").open()
    fcntl.flock(looking, fcntl.LOCK_SH)  # as `status` does; on a busy machine its turn may end before it lets go
    end = threading.Timer(0.2, looking.close)
    end.start()
    with instances.claimed("mine") as (name, _), pytest.raises(InstanceError), instances.claimed(name):
        pass
    end.join()


def test_two_that_are_started_at_once_have_a_name_each(home: Home) -> None:
    command = [KFCORE, "local", "up", "-d", "--without", "kubelet", "--without", "operator"]
    starting = [
        subprocess.Popen(
            command, env=home.env, cwd=home.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [each.communicate(timeout=PATIENCE) for each in starting]
    assert [each.returncode for each in starting] == [0, 0], told
    assert set(re.findall(r"^kfcore(?:-2)? ", home.local("status").stdout, re.M)) == {"kfcore ", "kfcore-2 "}
    assert home.local("stop", "--all").returncode == 0


def test_a_name_is_held_while_it_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    name, _, held = instances.claim(None)
    [(variable, value)] = instances.handed_on(held).items() - os.environ.items()
    other, _, held_too = instances.claim(None)
    assert (name, other) == ("kfcore", "kfcore-2")
    with pytest.raises(InstanceError):
        instances.claim(name)
    monkeypatch.setenv(variable, value)  # as the process has it that is started with it
    with instances.claimed(name) as (found, _):
        assert found == name
        assert instances.is_alive(name)
    os.close(held_too)
    assert not instances.is_alive(name)


def test_one_that_was_killed_leaves_its_name_free(home: Home) -> None:
    home.up("--without", "operator")
    home.kill()
    home.up("--without", "operator")
    assert home.local("stop").returncode == 0


async def test_a_killed_cluster_with_a_data_directory_goes_on_where_it_was(home: Home) -> None:
    kubeconfig = home.up("--data-dir", "data")
    container = {"name": "main", "image": "any", "command": ["sh", "-c", "exec sleep 1000"]}
    spec = {"restartPolicy": "OnFailure", "containers": [container]}
    async with await ClusterClient.connect(kubeconfig) as client:
        await client.create(POD, {"metadata": {"name": "pod"}, "spec": spec}, "default")
        before = await running(client, restarts=0)
    home.kill()
    kubeconfig = home.up("--data-dir", "data")
    async with await ClusterClient.connect(kubeconfig) as client:
        after = await running(client, restarts=1)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    in_use = home.local("reset", "--data-dir", "data", "--yes")
    assert (in_use.returncode, "is in use" in in_use.stderr) == (2, True)
    assert "data" in home.local("status").stdout
    assert home.local("stop").returncode == 0
    assert home.local("reset", "--data-dir", "data").returncode == 2, "nobody was there to agree"
    assert home.local("reset", "--data-dir", "data", "--yes").returncode == 0
    assert not (home.path / "data").exists()
    assert home.local("reset", "--data-dir", ".", "--yes").stderr.endswith("nothing was removed\n")


async def running(client: ClusterClient, *, restarts: int) -> Manifest:
    async def found() -> Manifest | None:
        pod = (await client.get(POD, "pod", "default")).raw
        statuses = pod.get("status", {}).get("containerStatuses", ())
        is_so = any(status["restartCount"] == restarts and "running" in status["state"] for status in statuses)
        return pod if is_so else None

    pod = await eventually(found, f"it runs, started again {restarts} times")
    assert pod is not None
    return pod


def test_a_users_kubeconfig_gets_a_context_on_request_and_loses_it_at_the_end(home: Home) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "production", "cluster": {"server": "https://example.com"}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [{"name": "production", "context": {"cluster": "production", "user": "me"}}],
        "current-context": "production",
    }
    path = home.path / "kubeconfig"
    path.write_text(yaml.safe_dump(theirs))
    home.up("--name", "mine", "--merge-kubeconfig", "--without", "operator")
    merged = yaml.safe_load(path.read_text())
    assert [context["name"] for context in merged["contexts"]] == ["production", "kfcore-mine"]
    assert merged["current-context"] == "production"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert home.local("stop", "--name", "mine").returncode == 0
    assert yaml.safe_load(path.read_text()) == theirs


@pytest.mark.parametrize("content", ["clusters: [", "clusters: {}", "- no kubeconfig"])
def test_a_users_kubeconfig_that_is_none_stays_as_it_is(home: Home, content: str) -> None:
    path = home.path / "kubeconfig"
    path.write_text(content)
    ended = home.local("up", "-d", "--merge-kubeconfig", "--without", "operator")
    if content == "clusters: {}":  # an empty map is an empty list to kubectl too
        assert ended.returncode == 0
        return
    assert ended.returncode == 2
    assert "nothing was added to it" in ended.stderr
    assert path.read_text() == content

"""The fixtures as another project's tests get them: by the entry point, in a pytest of their own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from kfcore.api.core import Namespace
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.pytest_plugin import RunningApiServer

CONFORMS = """
import pytest
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource

ConfigMap = untyped(Resource("", "v1", "ConfigMap", "configmaps"))

@pytest.mark.asyncio
async def test_a_config_map_is_kept(kube_client, kube_namespace):
    await kube_client.create(ConfigMap, {"metadata": {"name": "mine"}}, kube_namespace)
    assert (await kube_client.get(ConfigMap, "mine", kube_namespace)).name == "mine"
"""

CHANCE = """
import random

def test_chance(random_seed):
    assert random.random() == random.Random(random_seed).random()
    assert random_seed != 7, "a bad number"
"""

NOTHING = """
import sys

def test_nothing_is_loaded_for_who_asks_for_no_fixture():
    loaded = {name for name in sys.modules if name.startswith("kfcore")}
    assert loaded == {"kfcore", "kfcore.pytest_plugin"}
"""


def run(directory: Path, test: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_mine.py").write_text(test)
    clean = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "KFCORE_SEED")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-v", *arguments]
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=240, env={**clean, **environment}
    )


def test_a_conformance_test_needs_no_cluster(tmp_path: Path) -> None:
    ended = run(tmp_path, CONFORMS)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_with_kubeconfig_the_same_test_runs_on_that_cluster_and_leaves_nothing_behind(
    api_server: RunningApiServer, tmp_path: Path
) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", api_server.url, api_server.token)
    before = api_server.api.storage.version
    ended = await asyncio.to_thread(run, tmp_path, CONFORMS, KUBECONFIG=str(kubeconfig))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert api_server.api.storage.version > before, "it was this cluster"
    async with await api_server.connect() as user:
        assert not any(namespace.name.startswith("kfcore-test") for namespace in await user.list(Namespace))


def test_a_test_of_chance_runs_with_several_seeds_and_a_failure_names_its_own(tmp_path: Path) -> None:
    assert "5 passed" in run(tmp_path, CHANCE, "--kfcore-seeds=5").stdout
    failed = run(tmp_path, CHANCE, "--kfcore-seeds=1", KFCORE_SEED="7")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "KFCORE_SEED=7" in failed.stdout


def test_seeds_that_are_counted_are_the_same_in_every_run(tmp_path: Path) -> None:
    failed = run(tmp_path, CHANCE, "--kfcore-seeds=5", "--kfcore-first-seed=5")
    assert "1 failed, 4 passed" in failed.stdout
    assert "test_chance[seed2]" in failed.stdout
    assert "KFCORE_SEED=7" in failed.stdout


def test_who_uses_no_fixture_pays_nothing(tmp_path: Path) -> None:
    ended = run(tmp_path, NOTHING)
    assert ended.returncode == 0, ended.stdout + ended.stderr

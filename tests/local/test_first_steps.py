"""What somebody meets in the first hour: what a cluster in the background tells of itself, containers that give no
command, a disk that is nearly full.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from one_machine import Machine, a_container, a_pod, running

from kfcore.api.meta import Manifest
from kfcore.clock import SystemClock

KFCORE = str(Path(sys.executable).with_name("kfcore"))
ROOM = 64 * 1024


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a user whose clusters end with the test."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    yield environment
    local(environment, "stop", "--all")


def local(environment: dict[str, str], *arguments: str, room: int = 0) -> subprocess.CompletedProcess[str]:
    """`room`: how large a file may become."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    command = [KFCORE, "local", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, preexec_fn=limit if room else None
    )


def test_a_cluster_in_the_background_tells_its_link_and_how_it_is_ended(environment: dict[str, str]) -> None:
    begun = local(environment, "up", "-d", "--isolation", "none")
    link = re.search(r"^services in a browser: (http://127\.0\.0\.1:\d+/\?kfcore_token=\S+)$", begun.stdout, re.M)
    assert link is not None, begun
    assert local(environment, "status").stdout.rstrip().endswith(link[1])
    said = local(environment, "logs").stdout
    assert "`kfcore local stop --name kfcore` ends it" in said
    assert "Ctrl-C" not in said


def test_a_context_in_ones_own_kubeconfig_is_told_in_the_background_too(environment: dict[str, str]) -> None:
    file = {"KUBECONFIG": str(Path(environment["HOME"]) / "config")}
    begun = local(environment | file, "up", "-d", "--merge-kubeconfig", "--without", "kubelet")
    assert "  kubectl --context kfcore get pytorchjobs,pods\n" in begun.stdout


def test_a_data_directory_without_room_is_refused_in_words(environment: dict[str, str], tmp_path: Path) -> None:
    ended = local(environment, "up", "--without", "kubelet", "--data-dir", str(tmp_path / "data"), room=ROOM)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert str(tmp_path / "data" / "state.db") in ended.stderr
    assert "choose another --data-dir" in ended.stderr


async def test_arguments_that_begin_with_a_program_are_the_command_of_an_image_without_one(machine: Machine) -> None:
    container: Manifest = {
        **a_container(),
        "args": ["sh", "-c", "echo $(WHAT)"],
        "env": [{"name": "WHAT", "value": "hi"}],
    }
    await machine.create(a_pod("pod", container))
    await machine.until_phase("pod", "Succeeded")
    assert await machine.log("pod") == "hi\n"


@pytest.mark.parametrize("arguments", [["--rate", "0.1"], ["no-such-program"], []], ids=str)
async def test_other_arguments_are_those_of_a_command_that_nobody_said(machine: Machine, arguments: list[str]) -> None:
    await machine.create(a_pod("pod", {**a_container(), "args": arguments}))
    assert "gives no command" in (await machine.until_waiting("pod", "CreateContainerError"))["message"]


def test_the_command_is_there_without_its_script() -> None:
    command = [sys.executable, "-m", "kfcore", "local", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "python -m kfcore local" in ended.stdout

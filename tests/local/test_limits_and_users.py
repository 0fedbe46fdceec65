"""What containers may not have more of, and whom they run as."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from one_machine import FOREVER, POD, Machine, a_container, a_pod, running, terminated

from kfcore.api.meta import Manifest
from kfcore.client.interface import PatchType
from kfcore.clock import SystemClock
from kfcore.testing.clock import FakeClock

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a container as another user")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


async def test_a_container_with_more_memory_than_its_limit_is_killed_with_the_reason(machine: Machine) -> None:
    script = "import os, time; os.fork(); eaten = b'x' * (40 << 20); time.sleep(1000)"
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    pod = a_pod(
        "pod",
        a_container(sys.executable, "-c", script, **limits),
        a_container("sh", "-c", FOREVER, name="modest", **limits),
    )
    name = await machine.create(pod)

    def states(pod: Manifest) -> list[str]:
        return [state for status in pod["status"].get("containerStatuses", ()) for state in status["state"]]

    # Whichever of the two is quicker: none of them waits for the other.
    pod = await machine.until(name, lambda pod: states(pod)[:1] == ["terminated"] and states(pod)[1:] != ["waiting"])
    ended = terminated(pod)
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert states(pod)[1:] == ["running"]


@as_root
async def test_a_container_runs_as_the_user_and_groups_that_it_asks_for(machine: Machine) -> None:
    container = a_container("sh", "-c", "id -u; id -g; id -G; echo $HOME", workingDir="/")
    context = {"runAsUser": 65534, "supplementalGroups": [4242], "fsGroup": 4343}
    own = {**container, "securityContext": {"runAsGroup": 4141}}
    name = await machine.create(a_pod("pod", own, securityContext=context))
    await machine.until_phase(name, "Succeeded")
    user, group, groups, home = (await machine.log(name)).splitlines()
    assert (user, group, set(groups.split())) == ("65534", "4141", {"4141", "4242", "4343"})
    assert home != os.environ.get("HOME")


@as_root
async def test_nothing_of_a_container_of_another_user_is_left_when_it_is_killed(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        probe = {"exec": {"command": ["sh", "-c", "test $(id -u) = 65534"]}, "periodSeconds": 60}
        container = a_container(
            *("sh", "-c", FOREVER), workingDir="/", securityContext={"runAsUser": 65534}, readinessProbe=probe
        )
        name = await machine.create(a_pod("pod", container, activeDeadlineSeconds=30))
        await machine.until(name, lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("ready"))
        await clock.advance(30)
        pod = await machine.until_phase(name, "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"


@as_root
async def test_a_container_that_must_not_be_root_and_would_be_waits_with_the_reason(machine: Machine) -> None:
    container = a_container("true", securityContext={"runAsNonRoot": True})
    waiting = await machine.until_waiting(await machine.create(a_pod("pod", container)), "CreateContainerConfigError")
    assert waiting["message"].startswith("container has runAsNonRoot and image will run as root")
    assert "runAsUser" in waiting["message"]


async def test_a_container_may_be_given_less_memory_while_it_runs(machine: Machine) -> None:
    script = "eaten = b'x' * (40 << 20); import time; time.sleep(1000)"
    container = a_container(sys.executable, "-c", script, resources={"limits": {"memory": "1Gi"}})
    name = await machine.create(a_pod("pod", container))
    await machine.until_phase(name, "Running")
    resources = {"limits": {"memory": "16Mi"}, "requests": {"memory": "16Mi"}}
    body = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    await machine.client.patch(POD, name, "default", body, patch_type=PatchType.STRATEGIC, subresource="resize")
    pod = await machine.until_phase(name, "Failed")
    assert terminated(pod)["reason"] == "OOMKilled"

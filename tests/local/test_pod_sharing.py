"""What the containers of a pod share with each other and with the machine, when its manifest asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from isolated import Pods, isolated_cluster, needs_namespaces
from one_machine import POD, a_container, a_pod

from kfcore.api.meta import Manifest
from kfcore.client.interface import PatchType

pytestmark = needs_namespaces

LOOK = """
until test -e /shared/runs; do sleep 0.05; done
for process in /proc/[0-9]*; do
  # What it sees may have ended before it looks.
  if grep -qs "the-[o]ther-one" $process/cmdline; then kill -TERM ${process#/proc/}; echo found; exit 0; fi
done
echo alone
"""
STAY = "trap 'echo asked to end; exit 7' TERM; : the-other-one; touch /shared/runs; while :; do sleep 0.05; done"


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    async with isolated_cluster() as pods:
        yield pods


def a_pair(**spec: Any) -> Manifest:
    """A container that stays, and one that looks for its process, and asks it to end when it finds it."""
    mounts: list[Manifest] = [{"name": "shared", "mountPath": "/shared"}]
    stays = a_container("sh", "-c", STAY, name="stays", volumeMounts=mounts)
    looks = a_container("sh", "-c", LOOK, volumeMounts=mounts)
    volumes: list[Manifest] = [{"name": "shared", "emptyDir": {}}]
    return a_pod("pair", stays, looks, terminationGracePeriodSeconds=0, volumes=volumes, **spec)


def exit_code(pod: Manifest, container: str) -> int | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    states = (item["state"].get("terminated") or {} for item in statuses if item["name"] == container)
    return next((state.get("exitCode") for state in states), None)


async def test_containers_that_share_processes_see_and_signal_each_others(pods: Pods) -> None:
    await pods.client.create(POD, a_pair(shareProcessNamespace=True))
    await pods.until("pair", lambda pod: exit_code(pod, "stays") == 7 and exit_code(pod, "main") == 0)
    assert await pods.log("pair") == "found\n"


async def test_others_see_their_own_processes_only(pods: Pods) -> None:
    await pods.client.create(POD, a_pair())
    pod = await pods.until("pair", lambda pod: exit_code(pod, "main") == 0)
    assert await pods.log("pair") == "alone\n"
    assert exit_code(pod, "stays") is None


async def test_a_container_that_shares_processes_is_started_again_beside_the_others(pods: Pods) -> None:
    flaky = a_container("sh", "-c", "test -e /shared/once || { touch /shared/once; exit 1; }; sleep 1000", name="flaky")
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    stays = a_container("sh", "-c", "exec sleep 1000")
    await pods.client.create(
        POD,
        a_pod(
            "pod",
            stays,
            {**flaky, "volumeMounts": mounts},
            shareProcessNamespace=True,
            restartPolicy="OnFailure",
            terminationGracePeriodSeconds=0,
            volumes=[{"name": "shared", "emptyDir": {}}],
        ),
    )

    def again(pod: Manifest) -> bool:
        statuses = {item["name"]: item for item in (pod.get("status") or {}).get("containerStatuses") or []}
        return bool(statuses) and statuses["flaky"]["restartCount"] == 1 and statuses["flaky"]["ready"]

    pod = await pods.until("pod", again)
    assert [item["restartCount"] for item in pod["status"]["containerStatuses"] if item["name"] == "main"] == [0]


async def test_a_debugging_container_sees_the_processes_of_its_target(pods: Pods) -> None:
    target = a_container("sh", "-c", ": the-other-one; while :; do sleep 0.05; done", name="target")
    await pods.client.create(POD, a_pod("pod", target, terminationGracePeriodSeconds=0))
    await pods.until("pod", lambda pod: (pod.get("status") or {}).get("phase") == "Running")
    look = "grep -q 'the-[o]ther-one' /proc/[0-9]*/cmdline"
    debuggers = [
        {**a_container("sh", "-c", look, name="looks"), "targetContainerName": "target"},
        a_container("sh", "-c", look, name="alone"),
    ]
    body = {"spec": {"ephemeralContainers": debuggers}}
    options: Any = {"patch_type": PatchType.STRATEGIC, "subresource": "ephemeralcontainers"}
    await pods.client.patch(POD, "pod", "default", body, **options)

    def codes(pod: Manifest) -> list[int | None]:
        statuses = (pod.get("status") or {}).get("ephemeralContainerStatuses") or []
        found = {item["name"]: (item["state"].get("terminated") or {}).get("exitCode") for item in statuses}
        return [found.get(name) for name in ("looks", "alone")]

    pod = await pods.until("pod", lambda pod: None not in codes(pod))
    assert codes(pod) == [0, 1]

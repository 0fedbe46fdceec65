"""What a pod's status says while it lives: conditions, readiness gates, events, ephemeral containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from one_machine import FOREVER, POD, Machine, a_container, a_pod, condition, running
from patience import eventually

from kfcore.api.meta import Manifest
from kfcore.client.errors import BadRequest
from kfcore.client.interface import PatchType
from kfcore.clock import SystemClock
from kfcore.testing.clock import FakeClock
from kfcore_local import termination_message

GATE = "example.com/warmed-up"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


def conditions(pod: Manifest) -> dict[str, Manifest]:
    return {condition["type"]: condition for condition in pod.get("status", {}).get("conditions") or ()}


def ephemeral(pod: Manifest, index: int = 0) -> Manifest:
    statuses = pod["status"].get("ephemeralContainerStatuses") or []
    return dict(statuses[index]) if index < len(statuses) else {"state": {}}


async def test_conditions_tell_how_far_a_pod_has_come(machine: Machine, tmp_path: Path) -> None:
    init = [a_container("sh", "-c", f"until test -e {tmp_path}/go; do sleep 0.01; done", name="wait")]
    name = await machine.run("sh", "-c", f"until test -e {tmp_path}/end; do sleep 0.01; done", initContainers=init)
    pod = await machine.until(name, lambda pod: "PodReadyToStartContainers" in conditions(pod))
    states = {type_: found["status"] for type_, found in conditions(pod).items()}
    assert states == {
        "PodScheduled": "True",
        "PodReadyToStartContainers": "True",
        "Initialized": "False",
        "ContainersReady": "False",
        "Ready": "False",
    }
    assert conditions(pod)["Initialized"]["message"] == "containers with incomplete status: [wait]"
    (tmp_path / "go").touch()
    pod = await machine.until_phase(name, "Running")
    assert {found["status"] for found in conditions(pod).values()} == {"True"}
    assert "reason" not in conditions(pod)["Initialized"]
    (tmp_path / "end").touch()
    pod = await machine.until_phase(name, "Succeeded")
    assert conditions(pod)["Ready"] == {
        **conditions(pod)["ContainersReady"],
        "type": "Ready",
        "status": "False",
        "reason": "PodCompleted",
    }
    assert condition(pod, "PodReadyToStartContainers") == "False"


async def test_a_pod_is_ready_when_others_have_opened_its_gates(machine: Machine) -> None:
    name = await machine.run("sh", "-c", FOREVER, readinessGates=[{"conditionType": GATE}])
    pod = await machine.until_phase(name, "Running")
    assert (condition(pod, "ContainersReady"), condition(pod, "Ready")) == ("True", "False")
    assert conditions(pod)["Ready"]["reason"] == "ReadinessGatesNotReady"
    missing = f'corresponding condition of pod readiness gate "{GATE}" does not exist.'
    assert conditions(pod)["Ready"]["message"] == missing
    for status in ("False", "True"):
        body = {"status": {"conditions": [{"type": GATE, "status": status}]}}
        await machine.client.patch(POD, name, "default", body, patch_type=PatchType.STRATEGIC, subresource="status")
        expected = "True" if status == "True" else f'the status of pod readiness gate "{GATE}" is not "True", but False'
        pod = await machine.until(name, lambda pod, said=expected: said in str(conditions(pod)["Ready"]))
    await machine.until(name, lambda pod: conditions(pod)["Ready"]["status"] == "True")
    assert condition(pod, GATE) == "True"


async def test_events_tell_what_the_kubelet_did(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        name = await machine.run("false", restartPolicy="Always", nodeName="here")
        await machine.until_waiting(name, "CrashLoopBackOff")
        assert await machine.events("Pulled") == ['Container image "an-image" already present on machine']
        assert await machine.events("Created") == ["Created container: main"]
        assert await machine.events("Started") == ["Started container main"]
        assert await machine.events("BackOff") == ["Back-off restarting failed container main in pod pod"]


async def test_an_ephemeral_container_joins_a_pod_that_runs_and_ends_with_it(machine: Machine) -> None:
    name = await machine.run("sh", "-c", FOREVER)
    await machine.until_phase(name, "Running")
    body = {
        "spec": {
            "ephemeralContainers": [
                {"name": "look", "image": "busybox", "command": ["sh", "-c", "echo looking; exec sleep 1000"]}
            ]
        }
    }
    await machine.client.patch(
        POD, name, "default", body, patch_type=PatchType.STRATEGIC, subresource="ephemeralcontainers"
    )
    pod = await machine.until(name, lambda pod: "running" in ephemeral(pod)["state"])
    assert pod["status"]["phase"] == "Running"

    async def looks() -> bool:
        return await machine.log(name, "look") == "looking\n"

    await eventually(looks)
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])


async def test_the_end_of_an_ephemeral_container_is_told_before_that_of_its_pod(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = termination_message.last_words

    async def late(path: Path, *rest: Any, **options: Any) -> str:
        for _ in range(100 if "look" in str(path) else 0):
            await asyncio.sleep(0)
        return await words(path, *rest, **options)

    monkeypatch.setattr(termination_message, "last_words", late)
    name = await machine.run("sh", "-c", f"until test -e {tmp_path}/end; do sleep 0.01; done")
    await machine.until_phase(name, "Running")
    look = {"name": "look", "image": "busybox", "command": ["sleep", "1000"]}
    body = {"spec": {"ephemeralContainers": [look]}}
    await machine.client.patch(
        POD, name, "default", body, patch_type=PatchType.STRATEGIC, subresource="ephemeralcontainers"
    )
    await machine.until(name, lambda pod: "running" in ephemeral(pod)["state"])
    (tmp_path / "end").touch()
    pod = await machine.until_phase(name, "Succeeded")
    assert ephemeral(pod)["state"]["terminated"]["exitCode"] == 137


async def test_an_ephemeral_container_is_not_started_again_and_does_not_keep_its_pod(
    machine: Machine, tmp_path: Path
) -> None:
    name = await machine.run("sh", "-c", f"until test -e {tmp_path}/end; do sleep 0.01; done")
    await machine.until_phase(name, "Running")
    containers = [
        {"name": "failing", "image": "busybox", "command": ["false"]},
        {"name": "staying", "image": "busybox", "command": ["sleep", "1000"]},
    ]
    body = {"spec": {"ephemeralContainers": containers}}
    await machine.client.patch(
        POD, name, "default", body, patch_type=PatchType.STRATEGIC, subresource="ephemeralcontainers"
    )
    pod = await machine.until(
        name, lambda pod: "terminated" in ephemeral(pod)["state"] and "running" in ephemeral(pod, 1)["state"]
    )
    assert (ephemeral(pod)["restartCount"], ephemeral(pod)["state"]["terminated"]["exitCode"]) == (0, 1)
    (tmp_path / "end").touch()
    pod = await machine.until_phase(name, "Succeeded")
    staying = next(s for s in pod["status"]["ephemeralContainerStatuses"] if s["name"] == "staying")
    assert "terminated" in staying["state"]


async def test_a_secret_key_that_is_not_there_keeps_a_container_waiting_with_its_name(machine: Machine) -> None:
    reference = {"secretKeyRef": {"name": "none", "key": "password"}}
    container = a_container("true", env=[{"name": "PASSWORD", "valueFrom": reference}])
    waiting = await machine.until_waiting(await machine.create(a_pod("pod", container)), "CreateContainerConfigError")
    assert waiting["message"] == 'secret "none" not found'
    assert await machine.events("Failed") == ['Error: secret "none" not found']


async def test_the_log_of_a_container_that_waits_says_for_what(machine: Machine) -> None:
    container = a_container("true", envFrom=[{"secretRef": {"name": "none"}}])
    name = await machine.create(a_pod("pod", container))
    await machine.until_waiting(name, "CreateContainerConfigError")
    with pytest.raises(BadRequest, match='container "main" in pod "pod" is waiting to start: CreateContainerConfigErr'):
        await machine.log(name)


async def test_a_pod_does_not_end_between_two_runs_of_a_container(machine: Machine) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "initialDelaySeconds": 1, "failureThreshold": 1}
    name = await machine.create(
        a_pod("pod", a_container("sh", "-c", FOREVER, livenessProbe=probe), restartPolicy="OnFailure")
    )
    phases = set()

    def seen(pod: Manifest) -> bool:
        phases.add(pod.get("status", {}).get("phase"))
        statuses = pod.get("status", {}).get("containerStatuses") or [{"restartCount": 0, "state": {}}]
        return statuses[0]["restartCount"] == 1 and "running" in statuses[0]["state"]

    await machine.until(name, seen)
    assert phases <= {"Pending", "Running"}


async def test_a_container_may_have_a_restart_policy_and_rules_of_its_own(machine: Machine, tmp_path: Path) -> None:
    tries = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 2 || exit 42; exit 7"
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    container = a_container("sh", "-c", tries, restartPolicy="Never", restartPolicyRules=[rule])
    other = a_container("true", name="other", restartPolicy="Never")
    name = await machine.create(a_pod("pod", container, other, restartPolicy="Always"))
    pod = await machine.until_phase(name, "Failed")
    first, second = pod["status"]["containerStatuses"]
    assert (first["restartCount"], first["state"]["terminated"]["exitCode"]) == (1, 7)
    assert (second["restartCount"], second["state"]["terminated"]["exitCode"]) == (0, 0)

"""Pods on this machine, seen through the API as `kubectl` sees them, with real processes."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from one_machine import (
    CONFIG_MAP,
    FOREVER,
    POD,
    SECRET,
    Machine,
    a_container,
    a_pod,
    condition,
    running,
    terminated,
)

from kfcore.api.meta import Manifest, Unstructured, untyped
from kfcore.api.resource import Resource
from kfcore.apiserver.logs import LogOptions
from kfcore.clock import SystemClock
from kfcore.testing.clock import FakeClock


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


async def test_a_pod_runs_and_succeeds(machine: Machine, tmp_path: Path) -> None:
    name = await machine.run("sh", "-c", f"echo hello; until test -e {tmp_path}/seen; do sleep 0.01; done")
    pod = await machine.until_phase(name, "Running")
    assert condition(pod, "Ready") == "True"
    assert pod["status"]["podIP"].startswith("127.")
    assert pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    (tmp_path / "seen").touch()
    pod = await machine.until_phase(name, "Succeeded")
    assert condition(pod, "Ready") == "False"
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (0, "Completed")
    assert await machine.log(name) == "hello\n"
    assert await machine.events("Started") == ["Started container main"]


async def test_a_failing_command_fails_the_pod_with_its_exit_code(machine: Machine) -> None:
    pod = await machine.until_phase(await machine.run("sh", "-c", "exit 7"), "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (7, "Error")


async def test_a_killed_command_tells_its_signal(machine: Machine) -> None:
    pod = await machine.until_phase(await machine.run("sh", "-c", "kill -9 $$$$"), "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["signal"]) == (137, signal.SIGKILL)


async def test_a_command_that_does_not_exist_is_a_failed_container(machine: Machine) -> None:
    pod = await machine.until_phase(await machine.run("no-such-command"), "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (128, "StartError")
    assert 'exec: "no-such-command": executable file not found in $PATH' in terminated(pod)["message"]


async def test_a_container_without_a_command_waits_with_the_reason(machine: Machine) -> None:
    name = await machine.run()
    waiting = await machine.until_waiting(name, "CreateContainerError")
    assert "does not pull the image 'an-image'" in waiting["message"]


async def test_the_environment_comes_from_everywhere(machine: Machine) -> None:
    await machine.client.create(CONFIG_MAP, {"metadata": {"name": "config"}, "data": {"COLOUR": "blue", "SIZE": "3"}})
    await machine.client.create(SECRET, {"metadata": {"name": "secret"}, "data": {"password": "aHVudGVyMg=="}})
    env = [
        {"name": "SIZE", "value": "4"},
        {"name": "GREETING", "value": "$(COLOUR)-$(SIZE)-$$(SIZE)-$(MISSING)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
    ]
    script = 'echo "$GREETING $POD $APP $NODE $PASSWORD $MEMORY ${ABSENT-unset} $0 $(pwd)"; test "$IP" = "$1"'
    container = a_container(
        *("sh", "-c", script),
        args=["$(COLOUR)", "$(IP)"],
        env=env,
        envFrom=[{"configMapRef": {"name": "config"}}],
        resources={"limits": {"memory": "1Gi"}},
        workingDir="/",
    )
    name = await machine.create(a_pod("pod", container))
    await machine.until_phase(name, "Succeeded")
    assert await machine.log(name) == "blue-4-$(SIZE)-$(MISSING) pod test here hunter2 1024 unset blue /\n"


async def test_a_missing_config_map_is_waited_for_with_the_reason(machine: Machine) -> None:
    name = await machine.create(a_pod("pod", a_container("true", envFrom=[{"configMapRef": {"name": "none"}}])))
    waiting = await machine.until_waiting(name, "CreateContainerConfigError")
    assert waiting["message"] == 'configmap "none" not found'


async def test_init_containers_come_first_and_in_order(machine: Machine, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    steps = [a_container("sh", "-c", f"echo {step} >> {trace}", name=step) for step in ("one", "two")]
    name = await machine.create(a_pod("pod", a_container("cat", str(trace)), initContainers=steps))
    await machine.until_phase(name, "Succeeded")
    assert await machine.log(name) == "one\ntwo\n"


async def test_a_failing_init_container_fails_the_pod(machine: Machine) -> None:
    init = [a_container("false", name="init")]
    pod = await machine.until_phase(await machine.run("true", initContainers=init), "Failed")
    assert condition(pod, "Initialized") == "False"
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_a_sidecar_ends_after_the_containers(machine: Machine, tmp_path: Path) -> None:
    script = f"trap 'exit 0' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    sidecar = a_container("sh", "-c", script, name="sidecar", restartPolicy="Always")
    until_it_is_up = ("sh", "-c", f"until test -e {tmp_path}/up; do sleep 0.01; done")
    pod = await machine.until_phase(await machine.run(*until_it_is_up, initContainers=[sidecar]), "Succeeded")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


async def test_restarts_are_counted_and_back_off(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        tries = tmp_path / "tries"
        script = f"echo x >> {tries}; test $(wc -l < {tries}) -ge 3 && exit 0; echo failed; cat {tries}; exit 1"
        name = await machine.run("sh", "-c", script, restartPolicy="OnFailure")
        await machine.until_waiting(name, "CrashLoopBackOff")
        pod = (await machine.client.get(POD, name, "default")).raw
        status = pod["status"]["containerStatuses"][0]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 1
        assert pod["status"]["phase"] == "Running"
        assert await machine.log(name, previous=True) == "failed\nx\nx\n"  # the one that ended last
        await clock.advance(10)
        pod = await machine.until_phase(name, "Succeeded")
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 2


async def test_the_log_of_a_run_is_its_own_also_when_the_next_has_begun(machine: Machine, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    end = f"until test -e {tmp_path}/end; do sleep 0.01; done; exit 1"
    script = f"echo x >> {tries}; if test $(wc -l < {tries}) = 1; then echo first; {end}; fi; echo second; {FOREVER}"
    name = await machine.run("sh", "-c", script, restartPolicy="OnFailure")
    then = await machine.until_phase(name, "Running")
    (tmp_path / "end").touch()
    now = await machine.until(name, lambda pod: "running" in restarted(pod).get("state", {}))
    for pod, said in ((then, b"first\n"), (now, b"second\n")):
        chunks = machine.kubelet.read(pod, "main", LogOptions(follow=True))
        assert await anext(chunks) == said


def restarted(pod: Manifest) -> Manifest:
    """The state of the container when it has been restarted once."""
    [status] = pod["status"].get("containerStatuses") or [{}]
    return status if status.get("restartCount") == 1 else {}


async def test_deleting_a_pod_gives_it_its_grace(machine: Machine) -> None:
    name = await machine.run("sh", "-c", f"trap 'echo bye; exit 0' TERM; echo $$$$; {FOREVER.partition(';')[2]}")
    pod = await machine.until_phase(name, "Running")
    output = machine.kubelet.read(pod, "main", LogOptions(follow=True))
    pid = int(await anext(output))
    await machine.client.delete(POD, name, "default")
    assert b"".join([chunk async for chunk in output]) == b"bye\n"
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await machine.events("Killing") == ["Stopping container main"]


async def test_a_pod_that_is_removed_at_once_is_killed_at_once(machine: Machine) -> None:
    pod = await machine.until_phase(await machine.run("sh", "-c", "trap '' TERM; echo up; sleep 1000"), "Running")
    follow = machine.kubelet.read(pod, "main", LogOptions(follow=True))
    assert await anext(follow) == b"up\n"
    await machine.client.delete(POD, "pod", "default")
    await machine.client.delete(POD, "pod", "default", grace_period_seconds=0)
    assert [chunk async for chunk in follow] == []


async def test_a_deadline_ends_the_pod(machine: Machine) -> None:
    pod = await machine.until_phase(await machine.run("sh", "-c", FOREVER, activeDeadlineSeconds=1), "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_mount_that_cannot_be_had_fails_the_pod_with_the_reason(machine: Machine) -> None:
    container = a_container("true", volumeMounts=[{"name": "data", "mountPath": "/data"}])
    name = await machine.create(a_pod("pod", container, volumes=[{"name": "data", "emptyDir": {}}]))
    pod = await machine.until_phase(name, "Failed")
    assert pod["status"]["reason"] == "FailedMount"
    assert "nothing can be mounted at /data" in pod["status"]["message"]
    assert len(await machine.events("FailedMount")) == 1


async def test_a_pod_that_the_kubelet_cannot_run_fails_with_the_reason(machine: Machine) -> None:
    name = await machine.run("true", "with a \0 byte")
    pod = await machine.until_phase(name, "Failed")
    assert "null byte" in str(pod["status"])


async def test_a_host_path_that_may_be_made_is(machine: Machine, tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "directory")
    container = a_container("sh", "-c", f"echo here > {path}/file")
    container["volumeMounts"] = [{"name": "data", "mountPath": path}]
    volumes = [{"name": "data", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}]
    name = await machine.create(a_pod("pod", container, volumes=volumes))
    await machine.until_phase(name, "Succeeded")
    assert (tmp_path / "new" / "directory" / "file").read_text() == "here\n"


async def test_a_host_path_at_its_own_place_passes(machine: Machine, tmp_path: Path) -> None:
    container = a_container("true", volumeMounts=[{"name": "data", "mountPath": str(tmp_path)}])
    name = await machine.create(
        a_pod("pod", container, volumes=[{"name": "data", "hostPath": {"path": str(tmp_path)}}])
    )
    await machine.until_phase(name, "Succeeded")


async def test_the_end_of_the_message_is_the_end_of_the_log(machine: Machine) -> None:
    container = a_container("sh", "-c", "echo why; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    pod = await machine.until_phase(await machine.create(a_pod("pod", container)), "Failed")
    assert terminated(pod)["message"] == "why\n"


async def test_nothing_is_left_when_the_kubelet_ends(tmp_path: Path) -> None:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        pod = await machine.until_phase(await machine.run("sh", "-c", f"echo $$$$; {FOREVER}"), "Running")
        chunks = machine.kubelet.read(pod, "main", LogOptions(follow=True))
        pid = int(await anext(chunks))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_pod_of_another_scheduler_is_left_alone(machine: Machine) -> None:
    await machine.create(a_pod("theirs", a_container("true"), schedulerName="volcano"))
    await machine.until_phase(await machine.run("true"), "Succeeded")
    theirs: Unstructured = await machine.client.get(POD, "theirs", "default")
    assert "nodeName" not in theirs.raw["spec"]


async def test_nslookup_answers_for_services(machine: Machine) -> None:
    service = {"metadata": {"name": "job-master-0"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    await machine.client.create(untyped(Resource("", "v1", "Service", "services")), service)
    name = await machine.run("sh", "-c", "nslookup job-master-0 && nslookup job-$(echo master)-0")
    await machine.until_phase(name, "Succeeded")
    assert (await machine.log(name)).count("Address: 127.") == 2


GLOO = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1) * dist.get_rank()
dist.all_reduce(total)
print("sum", int(total), flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_two_torch_jobs_with_the_same_names_and_ports_run_side_by_side(machine: Machine) -> None:
    pytest.importorskip("torch")
    names = []
    for job in ("one", "two"):
        for rank, name in enumerate((f"{job}-master-0", f"{job}-worker-0", f"{job}-worker-1")):
            variables = {"MASTER_ADDR": f"{job}-master-0", "MASTER_PORT": "23456", "RANK": str(rank), "WORLD_SIZE": "3"}
            env = [{"name": key, "value": value} for key, value in variables.items()]
            manifest = a_pod(name, a_container(sys.executable, "-c", GLOO, env=env))
            owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": job, "controller": True}
            manifest["metadata"]["ownerReferences"] = [{**owner, "uid": await _owner(machine, job)}]
            names.append(await machine.create(manifest))
    for name in names:
        pod = await machine.until(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
        assert pod["status"]["phase"] == "Succeeded", await machine.log(name)
        assert await machine.log(name) == "sum 3\n"


async def _owner(machine: Machine, name: str) -> str:
    existing = [obj for obj in await machine.client.list(CONFIG_MAP) if obj.name == name]
    owner = existing[0] if existing else await machine.client.create(CONFIG_MAP, {"metadata": {"name": name}})
    return owner.metadata.uid


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_a_full_disk_is_told_with_what_to_do_and_the_container_goes_on(machine: Machine, tmp_path: Path) -> None:
    script = f"cd {tmp_path}/kubelet/pods/*; mkdir main; ln -s /dev/full main/0.log"
    prepare = a_container("sh", "-c", script, name="first")
    name = await machine.run("sh", "-c", "echo lost", initContainers=[prepare])
    await machine.until_phase(name, "Succeeded")
    [told] = await machine.events("FreeDiskSpaceFailed")
    assert told.startswith("output of container main is lost")
    assert told.endswith("No space left on device; make room there")

"""Lifecycle hooks and last words of containers that run for real."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from one_machine import FOREVER, POD, Machine, a_container, a_pod, running, terminated, until_told

from kfcore.api.meta import Manifest
from kfcore.clock import SystemClock
from kfcore.testing.clock import FakeClock

SERVER = """
import http.server, os, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1], "a").write(self.path); self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer((os.environ["IP"], 18070), Handler).serve_forever()
"""
IP = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


def runs(*command: str) -> Manifest:
    return {"exec": {"command": list(command)}}


async def test_a_container_is_running_when_its_hook_after_the_start_has_run(machine: Machine, tmp_path: Path) -> None:
    hook = runs("sh", "-c", f"sleep 0.2; touch {tmp_path}/hooked")
    container = a_container("sh", "-c", FOREVER, lifecycle={"postStart": hook})
    await machine.until_phase(await machine.create(a_pod("pod", container)), "Running")
    assert (tmp_path / "hooked").exists()


async def test_a_failed_hook_after_the_start_ends_the_container_with_the_reason(machine: Machine) -> None:
    container = a_container("sh", "-c", FOREVER, lifecycle={"postStart": runs("sh", "-c", "echo no licence; exit 3")})
    name = await machine.create(a_pod("pod", container, restartPolicy="Always"))
    pod = await machine.until(name, lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("restartCount"))
    assert pod["status"]["phase"] != "Failed"
    assert (await machine.events("FailedPostStartHook"))[0] == "PostStartHook failed: no licence\n"
    assert "FailedPostStartHook" in await machine.events("Killing")


async def test_a_container_whose_hook_has_failed_runs_again_whatever_it_ended_with(
    machine: Machine, tmp_path: Path
) -> None:
    hook = runs("sh", "-c", f"until test -e {tmp_path}/up; do sleep 0.01; done; exit 3")
    script = f"trap 'exit 0' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
    container = a_container("sh", "-c", script, lifecycle={"postStart": hook})
    name = await machine.create(a_pod("pod", container, restartPolicy="OnFailure"))
    await machine.until_waiting(name, "CrashLoopBackOff")
    pod = (await machine.client.get(POD, name, "default")).raw
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_a_hook_before_the_end_runs_before_sigterm(machine: Machine, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hook = runs("sh", "-c", f"echo hook >> {trace}")
    container = a_container("sh", "-c", until_told(f"echo term >> {trace}; exit 0"), lifecycle={"preStop": hook})
    name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=1000))
    pod = await machine.until_phase(name, "Running")
    await machine.until_up(name)
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])
    assert trace.read_text().split() == ["hook", "term"]


async def test_a_failed_hook_before_the_end_is_told_and_the_container_ends(machine: Machine) -> None:
    container = a_container("sh", "-c", FOREVER, lifecycle={"preStop": runs("sh", "-c", "echo cannot; exit 1")})
    name = await machine.create(a_pod("pod", container))
    pod = await machine.until_phase(name, "Running")
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])
    assert await machine.events("FailedPreStopHook") == ["PreStopHook failed: cannot\n"]


async def test_a_hook_that_takes_all_the_grace_leaves_two_seconds_for_the_container(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        container = a_container("sh", "-c", until_told(""), lifecycle={"preStop": {"sleep": {"seconds": 100}}})
        name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=100))
        pod = await machine.until_phase(name, "Running")
        await machine.until_up(name)
        await machine.client.delete(POD, name, "default", grace_period_seconds=5)
        await clock.advance(5)
        assert await machine.events("FailedPreStopHook") == [
            "PreStopHook failed: it took longer than the grace period of 5s"
        ]
        await clock.advance(2)
        await machine.until_deleted(name, pod["metadata"]["resourceVersion"])


async def test_a_hook_may_ask_the_container_by_http(machine: Machine, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    container = a_container(
        *(sys.executable, "-c", SERVER, str(asked)),
        env=IP,
        readinessProbe={"tcpSocket": {"port": 18070}, "periodSeconds": 1, "timeoutSeconds": 60},
        lifecycle={"preStop": {"httpGet": {"path": "/drain", "port": 18070}}},
    )
    name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=1000))
    pod = await machine.until(name, lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("ready"))
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])
    assert asked.read_text() == "/drain"


async def test_no_hook_runs_before_an_end_that_the_container_chose_itself(machine: Machine, tmp_path: Path) -> None:
    container = a_container("true", lifecycle={"preStop": runs("touch", str(tmp_path / "hooked"))})
    await machine.until_phase(await machine.create(a_pod("pod", container)), "Succeeded")
    assert not (tmp_path / "hooked").exists()


async def test_a_second_deletion_may_shorten_the_grace(machine: Machine) -> None:
    container = a_container("sh", "-c", until_told(""))
    name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=1000))
    pod = await machine.until_phase(name, "Running")
    await machine.until_up(name)
    await machine.client.delete(POD, name, "default")
    await machine.client.delete(POD, name, "default", grace_period_seconds=1)
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])


async def test_sidecars_end_after_the_containers_of_a_deleted_pod(machine: Machine, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    scripts = {
        name: until_told(f"sleep {wait}; echo {name} >> {trace}; exit 0")
        for name, wait in (("sidecar", 0), ("main", 0.3))
    }
    sidecar = a_container("sh", "-c", scripts["sidecar"], name="sidecar", restartPolicy="Always")
    main = a_container("sh", "-c", scripts["main"])
    name = await machine.create(a_pod("pod", main, initContainers=[sidecar], terminationGracePeriodSeconds=1000))
    pod = await machine.until_phase(name, "Running")
    for container in ("sidecar", "main"):
        await machine.until_up(name, container)
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])
    assert trace.read_text().split() == ["main", "sidecar"]


async def test_the_last_words_of_a_container_are_in_its_message_file(machine: Machine) -> None:
    container = a_container("sh", "-c", "echo -n no data > /dev/termination-log; exit 4")
    pod = await machine.until_phase(await machine.create(a_pod("pod", container)), "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["message"]) == (4, "no data")


async def test_a_message_file_may_have_another_path_and_is_cut_at_four_kilobytes(machine: Machine) -> None:
    container = a_container(
        *("sh", "-c", 'head -c 5000 /dev/zero | tr "\\0" x > $WORDS'),
        env=[{"name": "WORDS", "value": "/var/said/last"}],
        terminationMessagePath="/var/said/last",
    )
    pod = await machine.until_phase(await machine.create(a_pod("pod", container)), "Succeeded")
    assert terminated(pod)["message"] == "x" * 4096


async def test_the_log_stands_in_only_for_an_empty_message_of_a_failure(machine: Machine) -> None:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    lines = "for i in $(seq 100); do echo line $i; done"
    pod = a_pod(
        "pod",
        a_container("sh", "-c", f"{lines}; exit 1", name="failed", **fallback),
        a_container("sh", "-c", f"{lines}; exit 0", name="well", **fallback),
        a_container("sh", "-c", f"{lines}; echo why > /dev/termination-log; exit 1", name="said", **fallback),
    )
    pod = await machine.until_phase(await machine.create(pod), "Failed")
    failed, well, said = (status["state"]["terminated"] for status in pod["status"]["containerStatuses"])
    assert failed["message"].splitlines() == [f"line {number}" for number in range(21, 101)]
    assert "message" not in well
    assert said["message"] == "why\n"

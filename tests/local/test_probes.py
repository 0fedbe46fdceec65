"""Probes of containers that run for real: what a user sees of one that is not well, and of one that is again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from one_machine import EVENT, FOREVER, POD, Machine, a_container, a_pod, condition, running, until_told
from patience import eventually

from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.testing.clock import FakeClock

HTTP_SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302); self.send_header("Location", "/health"); self.end_headers(); return
        asked = self.headers.get("X-Asked", "")
        code = 200 if os.path.exists(sys.argv[2]) and self.path == "/health" and asked == "yes" else 503
        self.send_response(code); self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer((os.environ["IP"], int(sys.argv[1])), Handler)
print("up", flush=True)
server.serve_forever()
"""
FOR_EVER = 100_000
"""Seconds of a clock that runs faster than the processes."""
IP = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


@pytest.fixture
def clock() -> FakeClock:
    """The looks are taken as it moves: not before the processes are as the test wants them."""
    return FakeClock()


@pytest.fixture
async def machine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", clock) as machine:
        yield machine


def status(pod: Manifest, index: int = 0) -> Manifest:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return dict(statuses[index])


def patient(**probe: Any) -> Manifest:
    """It waits for its answer however long a busy machine takes for it."""
    return {"timeoutSeconds": FOR_EVER, **probe}


def often(**probe: Any) -> Manifest:
    return patient(**{"periodSeconds": 1, "failureThreshold": 1, **probe})


async def test_a_container_is_ready_when_its_probe_says_so_and_no_longer_when_not(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    sign = tmp_path / "ready"
    probe = {"exec": {"command": ["sh", "-c", f"test -e {sign} || {{ echo not yet; exit 1; }}"]}}
    container = a_container("sh", "-c", FOREVER, readinessProbe=patient(**probe, failureThreshold=2))
    name = await machine.create(a_pod("pod", container))
    pod = await machine.until_phase(name, "Running")
    assert (status(pod)["ready"], status(pod)["started"], condition(pod, "Ready")) == (False, True, "False")
    sign.touch()
    pod = await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))
    assert (condition(pod, "ContainersReady"), condition(pod, "Ready")) == ("True", "True")
    sign.unlink()
    pod = await moving(clock, machine.until(name, lambda pod: condition_is(pod, "Ready", "False")))
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "ContainersNotReady"
    assert ready["message"] == "containers with unready status: [main]"
    assert status(pod)["restartCount"] == 0
    assert set(await machine.events("Unhealthy")) == {"Readiness probe failed: not yet\n"}


async def test_a_failed_liveness_probe_restarts_the_container(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    probe = patient(exec={"command": ["test", "-e", str(tmp_path / "alive")]}, periodSeconds=5, initialDelaySeconds=3)
    container = a_container("sh", "-c", until_told(), livenessProbe=probe)
    pod = a_pod("pod", container, restartPolicy="OnFailure", terminationGracePeriodSeconds=FOR_EVER)
    name = await machine.create(pod)
    await machine.until_up(name)
    pod = await moving(clock, machine.until(name, lambda pod: status(pod).get("restartCount") == 1))
    assert status(pod)["lastState"]["terminated"]["exitCode"] == 0  # as it took SIGTERM; restarted all the same
    assert await machine.events("Killing") == ["Container main failed liveness probe, will be restarted"]
    failures = await machine.events("Unhealthy")
    assert failures[0].startswith("Liveness probe failed: command 'test -e")
    assert await machine.log(name, previous=True) == "up\n"


async def test_a_container_that_is_never_restarted_ends_by_its_liveness_probe(
    machine: Machine, clock: FakeClock
) -> None:
    probe = often(exec={"command": ["false"]}, initialDelaySeconds=1)
    container = a_container("sh", "-c", until_told(), livenessProbe=probe)
    name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=FOR_EVER))
    await machine.until_up(name)
    pod = await moving(clock, machine.until_phase(name, "Succeeded"))
    assert status(pod)["restartCount"] == 0
    assert await machine.events("Killing") == ["Container main failed liveness probe"]


async def test_the_grace_of_a_probe_goes_before_that_of_the_pod(machine: Machine, clock: FakeClock) -> None:
    probe = often(exec={"command": ["false"]}, terminationGracePeriodSeconds=1, initialDelaySeconds=1)
    container = a_container("sh", "-c", until_told(""), livenessProbe=probe)
    name = await machine.create(a_pod("pod", container, terminationGracePeriodSeconds=FOR_EVER))
    await machine.until_up(name)
    pod = await moving(clock, machine.until_phase(name, "Failed"))
    assert status(pod)["state"]["terminated"]["exitCode"] == 137


async def test_nothing_else_is_probed_before_a_container_has_started(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    probe = patient(exec={"command": ["test", "-e", str(started)]})
    container = a_container(
        *("sh", "-c", FOREVER),
        startupProbe={**probe, "failureThreshold": FOR_EVER},
        livenessProbe=probe,
        readinessProbe=probe,
    )
    name = await machine.create(a_pod("pod", container))
    pod = await machine.until_phase(name, "Running")
    assert (status(pod)["started"], status(pod)["ready"]) == (False, False)
    await advance_until(clock, lambda: told(machine, "Unhealthy", 3))
    assert all(message.startswith("Startup probe failed") for message in await machine.events("Unhealthy"))
    started.touch()
    pod = await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))
    assert (status(pod)["started"], status(pod)["restartCount"]) == (True, 0)


async def test_a_container_that_does_not_start_in_time_is_restarted(machine: Machine, clock: FakeClock) -> None:
    probe = often(exec={"command": ["false"]})
    container = a_container("sh", "-c", FOREVER, startupProbe=probe)
    name = await machine.create(a_pod("pod", container, restartPolicy="Always"))
    await moving(clock, machine.until(name, lambda pod: status(pod).get("restartCount") == 1))
    assert "Container main failed startup probe, will be restarted" in await machine.events("Killing")


async def test_a_probe_that_takes_too_long_has_failed(machine: Machine, clock: FakeClock) -> None:
    probe = often(exec={"command": ["sleep", "1000"]}, timeoutSeconds=1)
    name = await machine.create(a_pod("pod", a_container("sh", "-c", FOREVER, readinessProbe=probe)))
    await machine.until_phase(name, "Running")
    await advance_until(clock, lambda: told(machine, "Unhealthy"))
    assert set(await machine.events("Unhealthy")) == {"Readiness probe failed: command 'sleep 1000' timed out"}


async def test_a_probe_that_cannot_be_taken_says_so_and_changes_nothing(machine: Machine) -> None:
    probe = often(exec={"command": ["no-such-program"]})
    name = await machine.create(a_pod("pod", a_container("sh", "-c", FOREVER, livenessProbe=probe)))
    await machine.until_phase(name, "Running")
    await eventually(lambda: told(machine, "Unhealthy"))
    [message] = await machine.events("Unhealthy")
    assert message.startswith("Liveness probe errored")
    assert "no-such-program" in message
    assert status((await machine.client.get(POD, name, "default")).raw)["restartCount"] == 0


async def test_http_probes_ask_with_their_headers_and_follow_redirects(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    sign = tmp_path / "well"
    get = {"path": "/moved", "port": "web", "httpHeaders": [{"name": "X-Asked", "value": "yes"}]}
    container = a_container(
        *(sys.executable, "-c", HTTP_SERVER, "18080", str(sign)),
        env=IP,
        ports=[{"name": "web", "containerPort": 18080}],
        readinessProbe=often(httpGet=get),
    )
    name = await machine.create(a_pod("pod", container))
    await machine.until_up(name)
    await until_event(machine, clock, "Readiness probe failed: HTTP probe failed with statuscode: 503")
    sign.touch()
    await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))


async def test_http_probes_tell_of_a_port_where_nobody_listens(machine: Machine) -> None:
    probe = often(httpGet={"path": "health", "port": 18081})
    name = await machine.create(a_pod("pod", a_container("sh", "-c", FOREVER, readinessProbe=probe)))
    ip = (await machine.until_phase(name, "Running"))["status"]["podIP"]
    asked = f'Get "http://{ip}:18081/health": dial tcp {ip}:18081: connect: connection refused'
    await eventually(lambda: told(machine, "Unhealthy"))
    assert await machine.events("Unhealthy") == [f"Readiness probe failed: {asked}"]


async def test_https_probes_trust_any_certificate(machine: Machine, clock: FakeClock, tmp_path: Path) -> None:
    script = """
import http.server, os, ssl, sys
from kfcore.apiserver.tls import ephemeral_certificate
server = http.server.HTTPServer((os.environ["IP"], 18443), http.server.SimpleHTTPRequestHandler)
server.socket = ephemeral_certificate().context.wrap_socket(server.socket, server_side=True)
print("up", flush=True)
server.serve_forever()
"""
    probe = often(httpGet={"port": 18443, "scheme": "HTTPS"})
    container = a_container(sys.executable, "-c", script, env=IP, readinessProbe=probe, workingDir=str(tmp_path))
    name = await machine.create(a_pod("pod", container))
    await machine.until_up(name)
    await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))


async def test_tcp_probes_want_a_connection(machine: Machine, clock: FakeClock) -> None:
    script = (
        "import os, socket, time; s = socket.create_server((os.environ['IP'], 18090)); print('up', flush=True);"
        "time.sleep(1000)"
    )
    probes = {"readinessProbe": often(tcpSocket={"port": 18090})}
    name = await machine.create(a_pod("pod", a_container(sys.executable, "-c", script, env=IP, **probes)))
    await machine.until_up(name)
    await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))
    other = await machine.create(a_pod("other", a_container("sh", "-c", FOREVER, **probes)))
    ip = (await machine.until_phase(other, "Running"))["status"]["podIP"]
    await until_event(machine, clock, f"Readiness probe failed: dial tcp {ip}:18090: connect: connection refused")


GRPC_SERVER = """
import os, sys, time
from concurrent import futures
import grpc

def check(request, context):
    if request == bytes([0x0A, 4]) + b"gone":
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([0x08, 1 if os.path.exists(sys.argv[2]) else 2])

methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)])
assert server.add_insecure_port(f"{os.environ['IP']}:{sys.argv[1]}")
server.start()
print("up", flush=True)
time.sleep(1000)
"""


@pytest.mark.slow
async def test_grpc_probes_ask_for_the_health_of_a_service(machine: Machine, clock: FakeClock, tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    sign = tmp_path / "well"
    serving = a_container(
        *(sys.executable, "-c", GRPC_SERVER, "18050", str(sign)),
        env=IP,
        readinessProbe=often(grpc={"port": 18050, "service": "models"}),
    )
    gone = a_container(
        *("sh", "-c", FOREVER), name="gone", readinessProbe=often(grpc={"port": 18050, "service": "gone"})
    )
    name = await machine.create(a_pod("pod", serving, gone))
    await machine.until_up(name)
    failed = 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")'
    await until_event(machine, clock, failed)
    unknown = (
        "Readiness probe failed: error: the server gives no health of the service 'gone': does it implement the "
        "grpc.health.v1.Health protocol?"
    )
    await until_event(machine, clock, unknown)
    sign.touch()
    pod = await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))
    assert status(pod, 1)["ready"] is False


async def test_a_grpc_probe_of_another_protocol_says_what_is_wrong(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    container = a_container(
        *(sys.executable, "-c", HTTP_SERVER, "18060", str(tmp_path)), env=IP, readinessProbe=often(grpc={"port": 18060})
    )
    await machine.until_up(await machine.create(a_pod("pod", container)))
    message = "Readiness probe failed: error: the server does not speak HTTP/2, as gRPC does"
    await until_event(machine, clock, message)


async def test_containers_after_a_sidecar_start_when_it_has_started(
    machine: Machine, clock: FakeClock, tmp_path: Path
) -> None:
    sign = tmp_path / "up"
    sidecar = a_container(
        *("sh", "-c", f"sleep 0.3; touch {sign}; {FOREVER}"),
        name="sidecar",
        restartPolicy="Always",
        startupProbe=often(exec={"command": ["test", "-e", str(sign)]}, failureThreshold=FOR_EVER),
    )
    name = await machine.create(a_pod("pod", a_container("test", "-e", str(sign)), initContainers=[sidecar]))
    await moving(clock, machine.until_phase(name, "Succeeded"))


async def test_a_probe_finds_the_port_that_a_plain_process_was_told(machine: Machine, clock: FakeClock) -> None:
    service = {"metadata": {"name": "server-0"}, "spec": {"selector": {"app": "test"}, "ports": [{"port": 18095}]}}
    await machine.client.create(untyped(Resource("", "v1", "Service", "services")), service)
    script = (
        "import os, socket, time; address = (os.environ['H'], int(os.environ['H_PORT'])); assert address[1] != 18095; "
        "listening = socket.create_server(address); print('up', flush=True); time.sleep(1000)"
    )
    env = [{"name": "H", "value": "server-0"}, {"name": "H_PORT", "value": "18095"}]
    container = a_container(sys.executable, "-c", script, env=env, readinessProbe=often(tcpSocket={"port": 18095}))
    name = await machine.create(a_pod("server-0", container))
    await machine.until_up(name)
    await moving(clock, machine.until(name, lambda pod: status(pod).get("ready")))


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def moving(clock: FakeClock, waits: Any) -> Manifest:
    """The clock goes on, beside real processes, until what is waited for is there."""
    task: asyncio.Task[Manifest] = asyncio.ensure_future(waits)
    while not task.done():
        await clock.advance(1)
        await asyncio.wait([task], timeout=0.02)
    return await task


async def advance_until(clock: FakeClock, condition: Callable[[], Awaitable[bool]]) -> None:
    async def holds() -> bool:
        await clock.advance(1)
        return await condition()

    await eventually(holds)


async def told(machine: Machine, reason: str, count: int = 1) -> bool:
    """Whether so many were told of; the same ones are one event with a count."""
    await machine.kubelet.flush_events()
    events = await machine.client.list(EVENT)
    return sum(e.raw.get("count") or 1 for e in events if e.raw.get("reason") == reason) >= count


async def until_event(machine: Machine, clock: FakeClock, message: str) -> None:
    """Until a look has found this. There are few: of many alike an event recorder tells no more."""

    async def found() -> bool:
        messages = await machine.events("Unhealthy")
        assert len(messages) < 10, messages
        return message in messages

    await advance_until(clock, found)


def condition_is(pod: Manifest, type_: str, value: str) -> bool:
    return any(c["type"] == type_ and c["status"] == value for c in pod.get("status", {}).get("conditions") or ())

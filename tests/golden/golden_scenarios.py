"""The recorded scenarios of the reference operator, played against the in-process API: what users see of a job
(conditions, counts, pods, services, autoscaler, reasons of events) must agree, but for what a test lists as different.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfcore.api.core import Event, Pod, Service
from kfcore.api.jobs import Job
from kfcore.api.meta import Manifest, Unstructured, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ApiError, NotFound
from kfcore.jobs.controller import JobController
from kfcore.jobs.gang import SchedulerPluginsPodGroup
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import FakeClient, FakeClock, reconcile
from kfcore_local.gang import pod_group_crd

RECORDINGS = Path(__file__).parent / "jobs"
PODS, SERVICES = untyped(Pod.resource), untyped(Service.resource)
AUTOSCALERS = untyped(Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"))
NAMESPACE = "golden"

Differences = Mapping[tuple[str, int, str], str]
"""Deliberate differences, as (scenario, step, beginning of the path): their number in docs/compatibility.md."""


def scenarios(kind: str) -> list[str]:
    """The names of the scenarios that are about one kind, those of gang scheduling included."""
    names = []
    for path in sorted(RECORDINGS.glob("*.json")):
        scenario = json.loads(path.read_text())
        kinds = {obj["kind"] for step in scenario["steps"] for obj in step.get("apply", [])}
        if kinds == {kind}:
            names.append(path.stem)
    return names


async def play(name: str, controller: type[JobController[Any]], differences: Differences) -> None:
    """Play one scenario; fails with everything that differs and is not listed, or is listed and does not differ."""
    scenario = json.loads((RECORDINGS / f"{name}.json").read_text())
    player = Player(controller, scenario.get("gang", ""))
    problems = []
    for number, step in enumerate(scenario["steps"]):
        problems += [f"step {number}{problem}" for problem in await player.play(scenario, step)]
    expected = {f"step {step}{path}" for (named, step, path) in differences if named == name}
    unexpected = [problem for problem in problems if not problem.startswith(tuple(expected) or ("\0",))]
    assert not unexpected, "\n".join(unexpected)
    stale = [start for start in expected if not any(problem.startswith(start) for problem in problems)]
    assert not stale, f"listed as different, but agrees: {stale}"


class Player:
    """Applies a step, plays the kubelet, lets the operator settle, and compares what is there."""

    def __init__(self, controller: type[JobController[Any]], gang: str) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, clock=self.clock
        )
        self.groups = SchedulerPluginsPodGroup
        if gang:
            self.client.server.install_crd(pod_group_crd(self.groups.resource))
        self.controller = controller(self.client, options=OperatorOptions(gang_scheduler_name=gang))
        self.kind: type[Job[Any]] = controller.kind
        self.jobs = untyped(controller.kind.resource)

    async def play(self, scenario: Manifest, step: Manifest) -> list[str]:
        problems = []
        for manifest in step.get("apply", []):
            problems += await self.refusal(step, self.client.create(self.jobs, manifest, NAMESPACE))
        if "patch" in step:
            name = step["patch"]["job"].split("/")[1]
            patch = self.client.patch(self.jobs, name, NAMESPACE, step["patch"]["body"])
            problems += await self.refusal(step, patch)
        for name, state in step.get("pods", {}).items():
            await self.set_pod(name, {"phase": state} if isinstance(state, str) else state)
        await self.settle(step.get("wait", 0) + 1)
        for part in [*scenario.get("leave_out", []), *step.get("leave_out", [])]:
            step["snapshot"].pop(part, None)
        return problems + await self.compare(step["snapshot"])

    async def refusal(self, step: Manifest, call: Any) -> list[str]:
        try:
            await call
        except ApiError as error:
            return [] if step.get("refused") else [f".refused: {error}"]
        return [".refused: accepted, should be refused"] if step.get("refused") else []

    async def set_pod(self, name: str, state: Manifest) -> None:
        pod = (await self.client.get(PODS, name, NAMESPACE)).raw
        phase = state["phase"]
        container: Manifest = {
            "waiting": {"reason": state.get("reason", "ContainerCreating"), "message": state.get("message", "")}
        }
        if phase == "Running":
            container = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        elif phase in ("Succeeded", "Failed"):
            succeeded = phase == "Succeeded"
            container = {
                "terminated": {
                    "exitCode": state.get("exitCode", 0 if succeeded else 1),
                    "reason": state.get("reason", "Completed" if succeeded else "Error"),
                }
            }
        main = pod["spec"]["containers"][0]
        status = {
            "name": main["name"],
            "image": main["image"],
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": state.get("restartCount", 0),
            "state": container,
        }
        body = {"status": {"phase": phase, "containerStatuses": [status]}}
        await self.client.patch(PODS, name, NAMESPACE, body, subresource="status")

    async def settle(self, seconds: float) -> None:
        """Reconcile until nothing is written any more, then let the time pass, and once more."""
        for pause in (0, seconds):
            await self.clock.advance(pause)
            for _ in range(10):
                self.client.requests.clear()
                for job in await self.client.list(self.jobs, NAMESPACE):
                    await reconcile(self.controller, job.key)
                if all(method == "GET" for method, _ in self.client.requests):
                    break
            else:
                raise AssertionError(f"the operator does not settle: {self.client.requests}")

    async def compare(self, want: Manifest) -> list[str]:
        got = await self.snapshot()
        wanted = {(event[0], event[2]) for event in want.pop("events", [])}
        have = {(event.involved_object.kind, event.reason) for event in await self.client.list(Event, NAMESPACE)}
        for name, job in want.get("jobs", {}).items():
            for replica_type, recorded in job["replicaStatuses"].items():
                mine = got["jobs"].get(name, {}).get("replicaStatuses", {}).get(replica_type, {})
                if "selector" not in recorded:  # the reference leaves it out by chance
                    mine.pop("selector", None)
        return list(difference(want, {part: got[part] for part in want})) + [
            f".events.{reason}: missing" for _, reason in sorted(wanted - have)
        ]

    async def snapshot(self) -> Manifest:
        taken: Manifest = {"jobs": {}, "pods": {}, "services": {}, "podgroups": {}, "autoscalers": {}}
        for job in await self.client.list(self.jobs, NAMESPACE):
            taken["jobs"][job.name] = describe_job(job.raw.get("status") or {})
        for pod in await self.client.list(PODS, NAMESPACE):
            taken["pods"][pod.name] = describe_pod(pod.raw)
        for service in await self.client.list(SERVICES, NAMESPACE):
            taken["services"][service.name] = describe_service(service.raw)
        for scaler in await self.served(AUTOSCALERS):
            taken["autoscalers"][scaler.name] = {"spec": scaler.raw["spec"], "owner": owners(scaler.raw)}
        for group in await self.served(self.groups):
            kind = self.groups.resource.qualified_plural
            taken["podgroups"][group.name] = {"kind": kind, "spec": group.raw["spec"], "owner": owners(group.raw)}
        return json.loads(json.dumps(taken).replace(NAMESPACE, "<ns>"))  # type: ignore[no-any-return]

    async def served(self, kind: type[Unstructured]) -> list[Unstructured]:
        """The objects of a kind that the server need not know."""
        try:
            return list(await self.client.list(kind, NAMESPACE))
        except NotFound:
            return []


def describe_job(status: Manifest) -> Manifest:
    conditions = status.get("conditions") or []
    return {
        "conditions": [[c["type"], c["status"], c["reason"], c["message"]] for c in conditions],
        "replicaStatuses": status.get("replicaStatuses") or {},
        "started": "startTime" in status,
        "completed": "completionTime" in status,
    }


def describe_pod(pod: Manifest) -> Manifest:
    spec, metadata = pod["spec"], pod["metadata"]
    return {
        "labels": metadata.get("labels", {}),
        "annotations": metadata.get("annotations", {}),
        "owner": owners(pod),
        "containers": [describe_container(container) for container in spec["containers"]],
        "initContainers": [container["name"] for container in spec.get("initContainers", [])],
        "restartPolicy": spec.get("restartPolicy"),
        "schedulerName": spec.get("schedulerName"),
        "phase": pod["status"].get("phase"),
        "deleting": "deletionTimestamp" in metadata,
    }


def describe_container(container: Manifest) -> Manifest:
    return {
        "name": container["name"],
        "env": {variable["name"]: variable.get("value", "<from>") for variable in container.get("env", [])},
        "ports": sorted([port.get("name", ""), port["containerPort"]] for port in container.get("ports", [])),
    }


def describe_service(service: Manifest) -> Manifest:
    return {
        "labels": service["metadata"].get("labels", {}),
        "owner": owners(service),
        "clusterIP": service["spec"].get("clusterIP"),
        "selector": service["spec"].get("selector"),
        "ports": sorted([port.get("name", ""), port["port"]] for port in service["spec"].get("ports", [])),
    }


def owners(obj: Manifest) -> list[list[Any]]:
    references = obj["metadata"].get("ownerReferences", [])
    return [
        [r["apiVersion"], r["kind"], r["name"], r.get("controller"), r.get("blockOwnerDeletion")] for r in references
    ]


def difference(want: Any, got: Any, path: str = "") -> list[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        found = []
        for key in sorted({*want, *got}):
            if key not in got:
                found.append(f"{path}.{key}: missing, expected {json.dumps(want[key])[:200]}")
            elif key not in want:
                found.append(f"{path}.{key}: not expected: {json.dumps(got[key])[:200]}")
            else:
                found += difference(want[key], got[key], f"{path}.{key}")
        return found
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        return [
            text for i, (a, b) in enumerate(zip(want, got, strict=True)) for text in difference(a, b, f"{path}[{i}]")
        ]
    return [] if want == got else [f"{path}: {json.dumps(got)[:300]}, expected {json.dumps(want)[:300]}"]

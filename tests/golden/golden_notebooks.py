"""The recorded scenarios of the upstream notebook controller, played against the in-process API: what users see of a
Notebook, its StatefulSet, Service, VirtualService and events must agree.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from golden_scenarios import difference, owners

from kfcore.api.core import Event
from kfcore.api.core import Pod as CorePod
from kfcore.api.meta import Manifest, untyped
from kfcore.client.errors import ApiError
from kfcore.controller.manager import Manager
from kfcore.jobs.options import OperatorOptions
from kfcore.testing import FakeClient, FakeClock, settle
from kfcore.testing.client import schemaless_crd
from kfcore_notebook import Notebook, NotebookController
from kfcore_notebook.children import Service, StatefulSet, VirtualService
from kfcore_notebook.settings import NotebookSettings
from kfcore_notebook.setup import set_up

RECORDINGS = Path(__file__).parent / "notebooks"
NAMESPACE = "golden"
NOTEBOOKS = untyped(Notebook.resource)
KINDS = {
    "notebook": NOTEBOOKS,
    "statefulset": StatefulSet,
    "service": Service,
    "virtualservice": VirtualService,
    "pod": untyped(CorePod.resource),
    "event": untyped(Event.resource),
}
POD_CONDITIONS = ("Ready", "PodScheduled", "ContainersReady", "Initialized", "DisruptionTarget")


def scenarios() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


async def play(name: str) -> list[str]:
    """What differs."""
    scenario = json.loads((RECORDINGS / f"{name}.json").read_text().replace("<ns>", NAMESPACE))
    player = Player(scenario.get("istio", False))
    manager = Manager(player.client, clock=player.clock)
    set_up(NotebookController, manager, OperatorOptions(), player.settings)
    running = asyncio.create_task(manager.run())
    problems = []
    try:
        await settle()
        for number, step in enumerate(scenario["steps"]):
            problems += [f"step {number}{problem}" for problem in await player.play(step)]
    finally:
        manager.stop()
        await running
    return problems


class Player:
    """Plays a step, lets the operator settle, and compares what is there."""

    def __init__(self, istio: bool) -> None:
        self.clock = FakeClock()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.client = FakeClient(namespace, clock=self.clock)
        self.settings = NotebookSettings(use_istio=istio)
        self.client.server.install_crd(schemaless_crd(VirtualService.resource))

    async def play(self, step: Manifest) -> list[str]:
        refused = False
        for manifest in step.get("apply", []):
            refused |= await self._refused(self._create(manifest))
        for what, body in step.get("patch", {}).items():
            kind, name = what.split("/")
            refused |= await self._refused(self.client.patch(KINDS[kind], name, NAMESPACE, body))
        for what, status in step.get("status", {}).items():
            kind, name = what.split("/")
            patch = self.client.patch(KINDS[kind], name, NAMESPACE, {"status": status}, subresource="status")
            refused |= await self._refused(patch)
        for what in step.get("delete", []):
            kind, name = what.split("/")
            await self.client.delete(KINDS[kind], name, NAMESPACE, grace_period_seconds=0)
        for _ in range(5):
            await settle()
            await self.clock.advance(1)
        problems = [] if refused == step.get("refused", False) else [f".refused: {refused}"]
        want, got = step["snapshot"], await self.snapshot()
        missing = [event for event in want.pop("events") if event not in got["events"]]
        del got["events"]
        return problems + difference(want, got) + [f".events: no {event}" for event in missing]

    async def _create(self, manifest: Manifest) -> None:
        kind = KINDS[manifest["kind"].lower()]
        if kind is NOTEBOOKS:  # in the version that it names
            kind = untyped(replace(Notebook.resource, version=manifest["apiVersion"].partition("/")[2]))
        await self.client.create(kind, manifest, NAMESPACE)

    async def _refused(self, call: Any) -> bool:
        try:
            await call
        except ApiError:
            return True
        return False

    async def snapshot(self) -> Manifest:
        taken: Manifest = {"notebooks": {}, "statefulsets": {}, "services": {}, "virtualservices": {}}
        for notebook in await self.client.list(NOTEBOOKS, NAMESPACE):
            taken["notebooks"][notebook.name] = _notebook(notebook.raw)
        for stateful_set in await self.client.list(StatefulSet, NAMESPACE):
            taken["statefulsets"][stateful_set.name] = _stateful_set(stateful_set.raw)
        for service in await self.client.list(Service, NAMESPACE):
            taken["services"][service.name] = _service(service.raw)
        for virtual in await self.client.list(VirtualService, NAMESPACE):
            taken["virtualservices"][virtual.name] = {**_meta(virtual.raw), "spec": virtual.raw["spec"]}
        events = await self.client.list(Event, NAMESPACE)
        on_notebooks = {(e.type, e.reason, e.message) for e in events if e.involved_object.kind == "Notebook"}
        taken["events"] = [list(event) for event in sorted(on_notebooks)]
        return taken


def _meta(raw: Manifest) -> Manifest:
    annotations = raw["metadata"].get("annotations") or {}
    return {
        "labels": raw["metadata"].get("labels") or {},
        "annotations": {k: v for k, v in annotations.items() if not k.startswith(("kubectl.", "kfcore."))},
        "owner": [[version.partition("/")[0], *rest] for version, *rest in owners(raw)],
    }


def _notebook(raw: Manifest) -> Manifest:
    status = raw.get("status") or {}
    return {
        "annotations": _meta(raw)["annotations"],
        "readyReplicas": status.get("readyReplicas"),
        "containerState": status.get("containerState"),
        "conditions": [
            [c["type"], c.get("status"), c.get("reason", ""), c.get("message", "")]
            for c in status.get("conditions") or []
            if c["type"] in POD_CONDITIONS
        ],
    }


def _stateful_set(raw: Manifest) -> Manifest:
    spec, template = raw["spec"], raw["spec"]["template"]
    pod = {
        "labels": template["metadata"].get("labels") or {},
        "annotations": template["metadata"].get("annotations") or {},
        "containers": [_container(container) for container in template["spec"]["containers"]],
        "fsGroup": (template["spec"].get("securityContext") or {}).get("fsGroup"),
        "volumes": [volume["name"] for volume in template["spec"].get("volumes") or []],
    }
    return {**_meta(raw), "replicas": spec.get("replicas"), "selector": spec["selector"], "pod": pod}


def _container(raw: Manifest) -> Manifest:
    ports = [[p.get("name", ""), p["containerPort"], p.get("protocol", "TCP")] for p in raw.get("ports") or []]
    env = {variable["name"]: variable.get("value", "<from>") for variable in raw.get("env") or []}
    return {**{key: raw.get(key) for key in ("name", "image", "workingDir")}, "env": env, "ports": ports}


def _service(raw: Manifest) -> Manifest:
    spec = raw["spec"]
    ports = [[p.get("name", ""), p["port"], p["targetPort"], p["protocol"]] for p in spec["ports"]]
    return {**_meta(raw), "type": spec["type"], "selector": spec.get("selector"), "ports": ports}

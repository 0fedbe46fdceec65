"""The operator dies before any one of its writes, or just after it, and another takes over: nothing is made or stopped
twice, or forgotten. The loop goes over all points of a notebook's life, from its creation to the stop.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from notebook_cluster import NAMESPACE, NOTEBOOKS, Cluster, a_notebook

from kfcore.client.transport import Request
from kfcore.controller.events import EventRecorder
from kfcore.testing import reconcile
from kfcore_notebook import Notebook, NotebookController
from kfcore_notebook.activity import Servers
from kfcore_notebook.culling import Culler
from kfcore_notebook.idleness import Activity
from kfcore_notebook.metrics import NotebookMetrics
from kfcore_notebook.settings import NotebookSettings

SETTINGS = NotebookSettings(culling=True, idle_seconds=300, check_seconds=60)
STOPPED = b"kubeflow-resource-stopped"


class Killed(BaseException):
    """The end of a process, as far as a test can have it."""


class Mortal:
    """A transport that the operator dies in at its n-th write: before the server gets it, or before the answer."""

    def __init__(self, transport: Any, dies_at: int, answered: bool) -> None:
        self.transport, self.left, self.answered = transport, dies_at, answered
        self.alive = False
        self.stops = 0

    async def send(self, request: Request) -> Any:
        if not self.alive or request.method == "GET":
            return await self.transport.send(request)
        self.left -= 1
        reaches = self.left != 0 or self.answered
        self.stops += reaches and request.method == "PATCH" and STOPPED in (request.body or b"")
        answer = await self.transport.send(request) if reaches else None
        if self.left == 0:
            raise Killed
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Idle(Servers):
    async def ask(self, notebook: Notebook) -> Activity:
        return Activity()


class Life:
    """A notebook whose operator dies once."""

    def __init__(self, dies_at: int, answered: bool) -> None:
        self.cluster = Cluster(SETTINGS)
        self.mortal = Mortal(self.cluster.client.transport, dies_at, answered)
        self.cluster.client.transport = self.mortal  # type: ignore[assignment]
        self.start_operator()

    def start_operator(self) -> None:
        client, clock = self.cluster.client, self.cluster.clock
        self.controller = NotebookController(client, clock=clock, settings=SETTINGS)
        self.culler = Culler(
            client,
            Idle(),
            recorder=EventRecorder(client, "notebook-controller", clock),
            clock=clock,
            settings=SETTINGS,
            metrics=NotebookMetrics(),
            reached=lambda notebook, trouble: None,
        )

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds // 30)):
            await self.cluster.clock.advance(30)
            self.mortal.alive = True
            try:
                await reconcile(self.controller, f"{NAMESPACE}/nb")
                await reconcile(self.culler, f"{NAMESPACE}/nb")
            except Killed:
                self.start_operator()
            self.mortal.alive = False


@pytest.mark.parametrize("answered", [False, True], ids=["before the write", "after the write"])
async def test_an_operator_killed_at_any_write_converges_and_stops_once(answered: bool) -> None:
    for dies_at in count(1):
        life = Life(dies_at, answered)
        cluster = life.cluster
        await cluster.client.create(NOTEBOOKS, a_notebook())
        await life.passes(120)
        await cluster.pod_runs()
        await life.passes(120)
        assert (await cluster.status())["readyReplicas"] == 1
        await life.passes(600)
        assert STOPPED.decode() in await cluster.annotations()
        assert life.mortal.stops == 1
        assert (await cluster.stateful_set())["spec"]["replicas"] == 0
        made = [path.rsplit("/", 1)[1] for method, path in cluster.writes if method == "POST"]
        assert (made.count("statefulsets"), made.count("services")) == (1, 1)
        if life.mortal.left > 0:
            assert dies_at > 8, "the life was shorter than it should be"
            return

"""The controllers of notebooks in a manager: one for children and status, one for events, and with culling a third."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from kfcore.api.core import Event
from kfcore.cache.reflector import Selection
from kfcore.controller.handlers import Request
from kfcore_notebook.activity import HttpServers, Servers
from kfcore_notebook.api import Notebook
from kfcore_notebook.children import Service, StatefulSet, VirtualService
from kfcore_notebook.controller import COMPONENT, NotebookController, enqueue_notebook_of_pod
from kfcore_notebook.culling import Culler
from kfcore_notebook.metrics import NotebookMetrics
from kfcore_notebook.mirror import NotebookPod, Trouble
from kfcore_notebook.reissuing import ON_NOTEBOOKS, EventReissuer, is_about_children, notebook_of_event
from kfcore_notebook.settings import NotebookSettings

if TYPE_CHECKING:
    from kfcore.controller.manager import Manager
    from kfcore.plugins import OperatorOptions


def set_up(
    cls: type[NotebookController],
    manager: Manager,
    options: OperatorOptions,
    settings: NotebookSettings,
    servers: Servers | None = None,
) -> NotebookController:
    """`servers` are who is asked for activity (None: the notebooks' own, over HTTP)."""
    manager.cache.select(NotebookPod, Selection("notebook-name"))  # not every pod of the cluster
    metrics = manager.metrics.source(NotebookMetrics)
    metrics.stateful_sets = manager.cache.informer(StatefulSet).store.list
    recorder = manager.recorder(COMPONENT)
    controller = cls(
        manager.client,
        reader=manager.cache,
        recorder=recorder,
        clock=manager.clock,
        settings=settings,
        metrics=metrics,
    )
    running = manager.add_controller(
        controller,
        Notebook,
        owns=[StatefulSet, Service, *([VirtualService] if settings.use_istio else [])],
        watches=[(NotebookPod, enqueue_notebook_of_pod)],
        workers=options.workers_for(Notebook.resource.kind),
    )

    def failed(notebook: Notebook, event: Event) -> None:
        controller.child_failed(notebook, event)
        running.queue.add(Request.of(notebook))

    manager.cache.add_index(Event, ON_NOTEBOOKS, notebook_of_event)
    reissuer = EventReissuer(manager.cache, recorder, manager.clock, failed)
    manager.add_controller(reissuer, Event, predicate=is_about_children, name="notebook-events")
    if settings.culling:

        def reached(notebook: Notebook, trouble: Trouble | None) -> None:
            if controller.reached(notebook, trouble):
                running.queue.add(Request.of(notebook))

        if servers is None:
            servers = http = HttpServers(settings, manager.clock, door=options.service_door)
            manager.add_runnable(_close_at_the_end(http))
        culler = Culler(
            manager.client,
            servers,
            reader=manager.cache,
            recorder=recorder,
            clock=manager.clock,
            settings=settings,
            metrics=metrics,
            reached=reached,
        )
        manager.add_controller(
            culler,
            Notebook,
            watches=[(NotebookPod, enqueue_notebook_of_pod)],
            workers=settings.cull_concurrency,
            name="notebook-culling",
        )
    return controller


def _close_at_the_end(servers: HttpServers) -> Callable[[], Coroutine[None, None, None]]:
    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await servers.close()

    return run

"""Whether a notebook is idle, and since when: what its server told, its pod and its annotations come in. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from kfcore_notebook.api import IDLE_MINUTES, Notebook
from kfcore_notebook.mirror import NotebookPod
from kfcore_notebook.settings import NotebookSettings, parse_minutes


class Activity(msgspec.Struct, frozen=True):
    """What a server told: whether something works now, else when something did last (None: nothing ever)."""

    busy: bool = False
    last: datetime | None = None


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time; None for anything else, so that a spoilt annotation counts as none."""
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def idle_seconds(notebook: Notebook, settings: NotebookSettings) -> tuple[float, str]:
    """After how long it is stopped, and what is wrong with its own annotation about that."""
    text = notebook.metadata.annotations.get(IDLE_MINUTES)
    if text is None:
        return settings.idle_seconds, ""
    try:
        return parse_minutes(text), ""
    except ValueError:
        return settings.idle_seconds, f"{IDLE_MINUTES}={text}: expected a number of minutes greater than 0"


def last_activity(before: datetime, told: Activity | None, now: datetime) -> datetime:
    """The time to note, given the one noted `before`; `told` is None when the server did not answer."""
    if told is None or (told.last is None and not told.busy):
        return before
    if told.busy or told.last is None:
        return now
    return min(told.last, now)


def idle_since(noted: datetime, told: Activity | None, pod: NotebookPod, settings: NotebookSettings) -> datetime | None:
    """Since when it counts as idle; None while it does not. It starts anew with each start of the server, and a server
    that does not answer is idle only where the operator was told so.
    """
    ready = pod.condition("Ready")
    if ready.get("status") == "True":
        if told is None and not settings.cull_unreachable:
            return None
    elif not settings.cull_unreachable:
        return None
    changed = parse_time(ready.get("lastTransitionTime")) or pod.metadata.creation_timestamp
    return max(noted, changed) if changed else noted


def is_ready(pod: NotebookPod) -> bool:
    return pod.condition("Ready").get("status") == "True"

"""Fault injection as it is planned: rules that say which calls go wrong, and how. What goes by them is
`kfcore.testing.faulty_transport`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from kfcore.api.meta import Object
from kfcore.client.errors import ApiError, ConnectionFailed
from kfcore.client.transport import Request, Response

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
Fault = ApiError | ConnectionFailed | Response

_VERBS: dict[str, tuple[Verb, Verb]] = {  # of a collection, of an object
    "GET": ("list", "get"),
    "POST": ("create", "create"),
    "PUT": ("update", "update"),
    "PATCH": ("patch", "patch"),
    "DELETE": ("deletecollection", "delete"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """What a request means: the verb that RBAC knows, and the object."""

    verb: Verb
    base_path: str
    plural: str
    namespace: str
    name: str
    subresource: str

    @classmethod
    def of(cls, request: Request) -> Call:
        parts = request.path.strip("/").split("/")
        head = 2 if parts[0] == "api" else 3
        base, tail = "/" + "/".join(parts[:head]), parts[head:]
        namespace = ""
        if len(tail) > 2 and tail[0] == "namespaces" and tail[2] not in ("status", "finalize"):
            namespace, tail = tail[1], tail[2:]
        plural, name, subresource = (*tail, "", "", "")[:3]
        verb = _VERBS[request.method][bool(name)]
        if request.query.get("watch") == "true":
            verb = "watch"
        return cls(verb, base, plural, namespace, name, subresource)


@dataclass(slots=True)
class Rule:
    """One fault and the calls that it befalls. `hits` counts them; `left` says how many it is still for (None: all)."""

    verb: Verb | None
    kind: type[Object] | None
    name: str | None
    left: int | None
    hits: int = 0

    def __post_init__(self) -> None:
        if self.left is not None and self.left < 1:
            raise ValueError(f"a fault {self.left} times: expected at least once, or None for always")

    def stop(self) -> None:
        """No further call goes wrong by this rule."""
        self.left = 0

    def befalls(self, call: Call) -> bool:
        if self.left == 0 or (self.verb and self.verb != call.verb) or (self.name and self.name != call.name):
            return False
        if self.kind is not None:
            resource = self.kind.resource
            if (resource.plural, resource.base_path) != (call.plural, call.base_path):
                return False
        return True

    def take(self) -> None:
        self.hits += 1
        if self.left is not None:
            self.left -= 1


R = TypeVar("R", bound=Rule)


class Stream(Protocol):
    """A watch that is open."""

    call: Call
    stalled: bool

    def cut(self) -> None: ...


@dataclass(slots=True)
class Failure(Rule):
    fault: Fault = field(default_factory=lambda: ConnectionFailed("connection reset by peer"))
    carried_out: bool = False


@dataclass(slots=True)
class Delay(Rule):
    seconds: float = 0.0


@dataclass(slots=True)
class BadWatch(Rule):
    after: int = 0
    does: Literal["breaks", "ends", "stalls", "says"] = "breaks"
    lines: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Lag(Rule):
    events: int = 0
    seconds: float = 0.0


class Faults:
    """The rules. Of several that befall a call, the oldest is used up first; `clear` ends all.

    `kind` (None: any) and `name` limit a rule to some objects, `times` (None: always) to so many calls.
    """

    def __init__(self) -> None:
        self._failures: list[Failure] = []
        self._delays: list[Delay] = []
        self._watches: list[BadWatch] = []
        self._lags: list[Lag] = []
        self.streams: set[Stream] = set()

    def fail(
        self,
        verb: Verb | None,
        kind: type[Object] | None = None,
        fault: Fault | None = None,
        *,
        name: str | None = None,
        times: int | None = 1,
        carried_out: bool = False,
    ) -> Rule:
        """Answer a call with an error (`Conflict("…")`), a raw `Response`, or (None) a broken connection.

        With `carried_out`, the server does what was asked and only the answer is lost.
        """
        failure = fault if fault is not None else ConnectionFailed("connection reset by peer")
        rule = Failure(verb, kind, name, times, fault=failure, carried_out=carried_out)
        self._failures.append(rule)
        return rule

    def delay(
        self,
        verb: Verb | None,
        kind: type[Object] | None = None,
        *,
        seconds: float,
        name: str | None = None,
        times: int | None = 1,
    ) -> Rule:
        """Have the answer of a call, not of a watch, take so long; the server does at once what was asked."""
        if seconds <= 0:
            raise ValueError(f"a delay of {seconds:g} seconds: expected more than 0")
        rule = Delay(verb, kind, name, times, seconds=seconds)
        self._delays.append(rule)
        return rule

    def break_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Reset the connection of a watch that is opened from now on, after so many events (bookmarks don't count)."""
        return self._bad_watch(BadWatch("watch", kind, None, times, after=after, does="breaks"))

    def end_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Close a watch in good order after so many events, as servers do when its time is over."""
        return self._bad_watch(BadWatch("watch", kind, None, times, after=after, does="ends"))

    def stall_watch(self, kind: type[Object] | None = None, *, after: int = 0, times: int | None = 1) -> Rule:
        """Keep a watch's connection open and say nothing any more, after so many events."""
        return self._bad_watch(BadWatch("watch", kind, None, times, after=after, does="stalls"))

    def garble_watch(
        self, kind: type[Object] | None = None, *lines: bytes, after: int = 0, times: int | None = 1
    ) -> Rule:
        """Say `lines` (without line feeds) on a watch after so many events: garbage, an ERROR event."""
        return self._bad_watch(BadWatch("watch", kind, None, times, after=after, does="says", lines=lines))

    def lag(self, kind: type[Object] | None = None, *, events: int = 0, seconds: float = 0.0) -> Rule:
        """Have watches, those open already too, show each event only when `events` more have come and `seconds` have
        passed, until the rule is stopped. What a streaming list begins with is not held back.
        """
        if events < 0 or seconds < 0 or not (events or seconds):
            raise ValueError(f"a lag of {events} events and {seconds:g} seconds: expected one of them above 0")
        rule = Lag("watch", kind, None, None, events=events, seconds=seconds)
        self._lags.append(rule)
        return rule

    def cut(self, kind: type[Object] | None = None) -> None:
        """Reset the connections of all watches that are open now."""
        for stream in tuple(self.streams):
            if kind is None or kind.resource.plural == stream.call.plural:
                stream.cut()

    def stall(self, kind: type[Object] | None = None) -> None:
        """Have all watches that are open now say nothing any more."""
        for stream in tuple(self.streams):
            if kind is None or kind.resource.plural == stream.call.plural:
                stream.stalled = True

    def clear(self) -> None:
        """Forget every rule; watches that stall go on stalling."""
        for rule in (*self._failures, *self._delays, *self._watches, *self._lags):
            rule.stop()
        self._failures, self._delays, self._watches, self._lags = [], [], [], []

    def _bad_watch(self, rule: BadWatch) -> Rule:
        self._watches.append(rule)
        return rule

    # ── for the transport ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def none_for_calls(self) -> bool:
        """Whether every call but a watch is as the server answers it."""
        return not self._failures and not self._delays

    def failure_of(self, call: Call) -> Failure | None:
        return _first(self._failures, call)

    def delay_of(self, call: Call) -> Delay | None:
        return _first(self._delays, call)

    def bad_watch_of(self, call: Call) -> BadWatch | None:
        return _first(self._watches, call)

    def lag_of(self, call: Call) -> Lag | None:
        return _first(self._lags, call)


def _first(rules: list[R], call: Call) -> R | None:
    return next((rule for rule in rules if rule.befalls(call)), None)

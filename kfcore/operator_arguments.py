"""The arguments of the Go operators' Deployments, as those of `kfcore operator`: one dash or two, `=true` and `=false`,
former names, and flags that have no meaning here, for each of which a note says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand

NOTES = "kfcore.operator.notes"
"""Where a context keeps the notes, as (flag, why)."""

RENAMED = {
    "metrics-addr": "metrics-bind-address",
    "probe-addr": "health-probe-bind-address",
    "enable-leader-election": "leader-elect",
    "qps": "kube-api-qps",
    "burst": "kube-api-burst",
    "threadiness": "controller-threads",
}
SWITCHES = frozenset(
    {"leader-elect", "enable-leader-election", "json-log-format", "enable-gang-scheduling", "zap-devel"}
)
"""Flags that stand for true when they have no value."""

NO_WEBHOOK = "there is no webhook: the CRDs let the API server itself refuse what is wrong"
WITHOUT_EFFECT = {
    "webhook-server-port": NO_WEBHOOK,
    "webhook-service-name": NO_WEBHOOK,
    "webhook-secret-name": NO_WEBHOOK,
    "mpi-kubectl-delivery-image": "no MPIJob is served",
    "zap-stacktrace-level": "an error has its traceback, unless it is the API server's refusal",
    "resync-period": "nothing is missed that would have to be looked at again",
    "resyc-period": "nothing is missed that would have to be looked at again",
}
TAKE_A_VALUE = frozenset({"zap-time-encoding", "zap-log-level", "monitoring-port", "gang-scheduler-name"})
"""Those of the others whose value is of interest here."""

ISO_TIMES = ("iso8601", "rfc3339", "rfc3339nano")
LEVELS = {"warn": "warning", "dpanic": "error", "panic": "error", "fatal": "error"}


def _listed(names: Iterable[str]) -> str:
    return "\n".join(textwrap.wrap(", ".join(f"--{name}" for name in names), 76, break_on_hyphens=False))


# What follows a \b is printed as it is.
UNDERSTOOD = f"""\b
The arguments of the Go operators' Deployments are taken as they are: one dash
or two, --leader-elect=false, and
{_listed([*RENAMED, "monitoring-port", *sorted(SWITCHES - RENAMED.keys() - {"leader-elect"}), "zap-time-encoding"])}

\b
These have no effect, and the log says so:
{_listed(WITHOUT_EFFECT)}
"""


class OperatorCommand(TyperCommand):
    """Reads arguments as `translate` gives them, and leaves its notes in the context."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{**named, "epilog": UNDERSTOOD})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            translated, ctx.meta[NOTES] = translate(args)
        except ValueError as error:
            raise BadParameter(str(error)) from error
        return super().parse_args(ctx, translated)


def translate(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The arguments for `kfcore operator`, and why some have no effect. Raises ValueError for a switch that is neither
    on nor off.
    """
    ours: list[str] = []
    notes: list[tuple[str, str]] = []
    given = {name: value for name, value in _flags(arguments) if name}
    for name, value in _flags(arguments):
        if not name:
            ours.append(value or "")
        elif name in WITHOUT_EFFECT:
            notes.append((f"--{name}", WITHOUT_EFFECT[name]))
        elif name == "zap-time-encoding":
            if (value or "").lower() not in ISO_TIMES:
                notes.append((f"--{name}", "times are written as RFC 3339 has them"))
        else:
            ours += _ours(name, value, given)
    return ours, notes


def _ours(name: str, value: str | None, given: dict[str, str | None]) -> list[str]:
    on = _is_on(name, value) if name in SWITCHES else False
    match RENAMED.get(name, name):
        case "leader-elect":
            return ["--leader-elect" if on else "--no-leader-elect"]
        case "json-log-format":
            return ["--log-format", "json" if on else "console"]
        case "zap-devel":
            level = ["--log-level", "debug"] if "zap-log-level" not in given else []
            return [*level, *(["--log-format", "console"] if "zap-encoder" not in given else [])] if on else []
        case "zap-log-level" if value is not None:
            return ["--log-level", _level(value)]
        case "enable-gang-scheduling":
            return ["--gang-scheduler-name", given.get("gang-scheduler-name") or "volcano"] if on else []
        case "gang-scheduler-name" if "enable-gang-scheduling" in given:
            return []  # the other flag says whether
        case "monitoring-port" if value is not None:
            return ["--metrics-bind-address", "0" if value == "0" else f":{value}"]
        case known:
            return [f"--{known}"] if value is None else [f"--{known}", value]


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names and values; what is no flag has an empty name, and is the value of the flag before it if that takes one."""
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name[:1].isalpha() or argument == "-h":
            yield "", argument
        elif equals or name in SWITCHES:
            yield name, value if equals else None
        elif name in WITHOUT_EFFECT or name in TAKE_A_VALUE:
            yield name, next(waiting, None)
        else:
            yield name, None  # its value, if it has one, follows as an argument of its own


def _is_on(name: str, value: str | None) -> bool:
    """As Go reads a boolean."""
    match value:
        case None | "1" | "t" | "T" | "true" | "TRUE" | "True":
            return True
        case "0" | "f" | "F" | "false" | "FALSE" | "False":
            return False
    raise ValueError(f"--{name}={value}: expected true or false")


def _level(value: str) -> str:
    """Zap's levels: numbers are the more verbose the higher."""
    if value.isdecimal():
        return "debug" if int(value) > 0 else "info"
    return LEVELS.get(value.lower(), value.lower())

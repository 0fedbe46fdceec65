"""The board of `kfcore local run`: for every job that is not done one line, and one for each replica with its state,
restarts, use of the machine and last line. Progress comes in, lines of text go out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from kfcore_local.console import BOLD, CONDITION_COLORS, DIM, GREEN, RED, RESET, YELLOW, plain
from kfcore_local.progress import FollowedJob, Replica
from kfcore_local.usage import Owner, Usage

GAP = "  "
LEAST_FOR_LINES = 16
"""Columns below which no piece of a log line is worth its room."""
STATE_COLORS = {"Running": GREEN, "Succeeded": DIM, "Pending": YELLOW, "Terminating": DIM}
HEADS = ("REPLICA", "STATE", "RESTARTS", "CPU", "MEMORY")

Use = Callable[[], Mapping[Owner, Usage]]


class Board:
    """Draws `jobs` as they are when asked. `use` is what containers were measured to use last, `now` the time."""

    def __init__(
        self, jobs: Callable[[], Iterable[FollowedJob]], use: Use, now: Callable[[], float], *, color: bool
    ) -> None:
        self._jobs = jobs
        self._use = use
        self._now = now
        self._color = color

    def lines(self, columns: int, height: int) -> list[str]:
        jobs = list(self._jobs())
        if not jobs:
            return []
        used: dict[str, Usage] = {}
        for (uid, _), usage in self._use().items():
            used[uid] = used[uid] + usage if uid in used else usage
        room = max(1, (height - 2 - len(jobs)) // len(jobs))
        rows = [(job, *_chosen(job, room)) for job in jobs]
        cells = [_cells(name, replica, used) for _, replicas, _ in rows for name, replica in replicas]
        widths = _widths(cells, columns)
        lines = [self._styled("─" * columns, DIM)]
        for number, (job, replicas, rest) in enumerate(rows):
            lines.append(self._headline(job, columns))
            if number == 0 and replicas:
                lines.append(self._styled(_line(HEADS, widths, "LAST LINE", columns), DIM))
            for name, replica in replicas:
                lines.append(self._row(replica, _cells(name, replica, used), widths, columns))
            if rest:
                lines.append(self._styled(cut(f"{GAP}… and {rest}", columns), DIM))
        return lines

    def _headline(self, job: FollowedJob, columns: int) -> str:
        """`digits  Running  12 s  3 of 3 running  epoch=3 loss=0.21`"""
        running = sum(replica.state == "Running" for replica in job.replicas.values())
        parts = [f"{self._now() - job.started:.0f} s"]
        if job.replicas:
            parts.append(f"{running} of {len(job.replicas)} running")
        if job.restarts:
            parts.append(f"{job.restarts} restart{'s' if job.restarts > 1 else ''}")
        if job.metrics:
            parts.append(" ".join(f"{name}={value}" for name, value in job.metrics.items()))
        name, condition = job.key.name, job.condition
        rest = cut(GAP.join(parts), columns - width(name) - len(condition) - 2 * len(GAP))
        if width(name) + len(condition) + len(GAP) > columns:
            return cut(name, columns)
        shown = self._styled(condition, CONDITION_COLORS.get(condition, BOLD))
        return f"{self._styled(name, BOLD)}{GAP}{shown}{GAP}{rest}".rstrip()

    def _row(self, replica: Replica, cells: Sequence[str], widths: Sequence[int], columns: int) -> str:
        line = _line(cells, widths, plain(replica.last_line), columns)
        if not self._color:
            return line
        # The state is coloured where it stands, after everything has been cut to its width.
        start = len(GAP) + widths[0] + len(GAP) if len(widths) > 1 else len(line)
        end = start + widths[1] if len(widths) > 1 else start
        style = STATE_COLORS.get(replica.state, RED)
        return line[:start] + self._styled(line[start:end], style) + line[end:]

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{RESET}" if self._color and text else text


def _chosen(job: FollowedJob, room: int) -> tuple[list[tuple[str, Replica]], str]:
    """The replicas to show, and the others in words. Those that neither run nor are done come first: one looks for
    them."""
    replicas = job.in_order()
    if len(replicas) <= room:
        return replicas, ""
    urgent = sorted(replicas, key=lambda item: item[1].state in ("Running", "Succeeded"))
    shown = {name for name, _ in urgent[: room - 1]}
    states = Counter(replica.state for name, replica in replicas if name not in shown)
    counted = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return [item for item in replicas if item[0] in shown], f"{sum(states.values())} more: {counted}"


def _cells(name: str, replica: Replica, used: Mapping[str, Usage]) -> tuple[str, ...]:
    usage = used.get(replica.uid)
    cpu = f"{usage.cores * 100:.0f}%" if usage else ""
    memory = _bytes(usage.memory) if usage else ""
    return name, replica.state, str(replica.restarts), cpu, memory


def _bytes(count: int) -> str:
    mebibytes = count / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def _widths(rows: Sequence[Sequence[str]], columns: int) -> list[int]:
    """Of the columns that fit, from the left; of names and states what there is room for."""
    wanted = [max(map(width, column)) for column in zip(HEADS, *rows, strict=True)]
    wanted[0] = min(wanted[0], max(12, columns // 3))
    fitting: list[int] = []
    for columns_wide in wanted:
        if sum(fitting) + columns_wide + len(GAP) * (len(fitting) + 1) > columns:
            break
        fitting.append(columns_wide)
    return fitting


def _line(cells: Sequence[str], widths: Sequence[int], last: str, columns: int) -> str:
    """The cells that have a width, numbers to the right, and of `last` what there is still room for."""
    line = ""
    for number, (cell, wide) in enumerate(zip(cells, widths, strict=False)):
        text = cut(cell, wide)
        padding = " " * (wide - width(text))
        line += GAP + (padding + text if number > 1 else text + padding)
    left = columns - width(line) - len(GAP)
    if len(widths) == len(HEADS) and left >= LEAST_FOR_LINES and last:
        line += GAP + cut(last, left)
    return line.rstrip()


def width(text: str) -> int:
    """In columns of a terminal, where some characters take two and some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, columns: int) -> str:
    """The text, or its beginning and an ellipsis."""
    if columns <= 0:
        return ""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[: columns - 1] if text.isascii() else text[:-1]
    return text + "…"

"""Cron schedules: five fields, names, steps and macros, and the times that they stand for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_WEEKDAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_DURATION = re.compile(r"([\d.]+)(ms|h|m|s)")
HORIZON = timedelta(days=5 * 366)
"""How far ahead a time is looked for: `0 0 30 2 *` has none."""


class Every(msgspec.Struct, frozen=True):
    """`@every 1h30m`, counted from the last time."""

    seconds: float

    def after(self, time: datetime, zone: tzinfo) -> datetime | None:
        return time.replace(microsecond=0) + timedelta(seconds=self.seconds)


class Schedule(msgspec.Struct, frozen=True):
    """What each field allows. With both days restricted, one of them is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, time: datetime, zone: tzinfo) -> datetime | None:
        """The first time after `time`, on the clocks of `zone`; None when there is none in years."""
        day = time.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        last = day + HORIZON
        while day <= last:
            if day.month in self.months and self._has_day(day):
                for found in self._of_day(day, zone):
                    if found > time:
                        return found
            day += timedelta(days=1)
        return None

    def _has_day(self, day: datetime) -> bool:
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday

    def _of_day(self, day: datetime, zone: tzinfo) -> Iterator[datetime]:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                local = day.replace(hour=hour, minute=minute)
                found = local.replace(tzinfo=zone).astimezone(UTC)
                if found.astimezone(zone).replace(tzinfo=None) == local:  # else the clocks skip it
                    yield found


def parse(text: str) -> Schedule | Every:
    """Raises ValueError."""
    if text.startswith("@every "):
        parts = _DURATION.findall(text.removeprefix("@every ").strip())
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if seconds < 1:
            raise ValueError(f"{text!r} has no duration of a second or more")
        return Every(seconds)
    fields = _MACROS.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f"{text!r} has {len(fields)} fields, expected 5")
    minute, hour, day, month, weekday = fields
    return Schedule(
        _numbers(minute, 0, 59),
        _numbers(hour, 0, 23),
        _numbers(day, 1, 31),
        _numbers(month, 1, 12, _MONTHS),
        frozenset(number % 7 for number in _numbers(weekday, 0, 7, _WEEKDAYS)),
        _is_any(day),
        _is_any(weekday),
    )


def _is_any(field: str) -> bool:
    """Whether a field restricts nothing. `*/2` does."""
    return any(part in ("*", "?", "*/1", "?/1") for part in field.split(","))


def _numbers(field: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            first, last = least, most
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names)
            last = _number(end, names) if dash else most if step else first
        if not (least <= first <= last <= most) or (step and int(step) < 1):
            raise ValueError(f"{part!r} is not within {least} and {most}")
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    return (names or {}).get(text.lower()[:3], -1) if text[:1].isalpha() else int(text)

"""What a CronJob's schedule may be: five fields, or a name for them."""

from __future__ import annotations

import re

_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
"""The least and the most of each field, and its names."""
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def schedule_problem(schedule: str) -> str:
    """Why `schedule` is none; empty when it is one."""
    if "TZ" in schedule:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if schedule in _MACROS:
        return ""
    if schedule.startswith("@every "):
        text = schedule.removeprefix("@every ")
        malformed = not _DURATION.fullmatch(text)
        return f'failed to parse duration {schedule}: time: invalid duration "{text}"' if malformed else ""
    if schedule.startswith("@"):
        return f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    problems = (_field_problem(text, *bounds) for text, bounds in zip(fields, _FIELDS, strict=True))
    return next(filter(None, problems), "")


def _field_problem(text: str, least: int, most: int, names: dict[str, int]) -> str:
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = least, most
        else:
            for number in (first, last) if dash else (first,):
                if number.lower() not in names and not _is_number(number):
                    return f'failed to parse int from {number}: strconv.Atoi: parsing "{number}": invalid syntax'
            start = names[first.lower()] if first.lower() in names else int(first)
            end = start if not dash else names[last.lower()] if last.lower() in names else int(last)
        if slash and not _is_number(step):
            return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
        if slash and not int(step):
            return f"step of range should be a positive number: {part}"
        if start < least:
            return f"beginning of range ({start}) below minimum ({least}): {part}"
        if end > most:
            return f"end of range ({end}) above maximum ({most}): {part}"
        if start > end:
            return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()

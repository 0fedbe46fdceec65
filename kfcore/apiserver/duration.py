"""Ages as kubectl users read them: `35s`, `4m12s`, `3h`, `2d4h`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

UNKNOWN = "<unknown>"


def human_duration(seconds: float) -> str:
    """A duration in at most two units, coarser the longer it is, as kubectl prints it."""
    if seconds <= -2:
        return "<invalid>"
    whole = max(int(seconds), 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def parse_time(text: Any) -> datetime | None:
    """An RFC 3339 time of a manifest; None for what is absent or is not one."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None


def age(text: Any, now: datetime) -> str:
    """How long ago an RFC 3339 time was; `<unknown>` without one."""
    time = parse_time(text)
    return UNKNOWN if time is None else human_duration((now - time).total_seconds())


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"

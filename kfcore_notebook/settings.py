"""The operator's environment variables about notebooks, under the names of the upstream controller, as one value."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

log = structlog.get_logger(__name__)

SOURCES = ("kernels", "terminals")
OLD_NAMES = {"IDLE_TIME": "CULL_IDLE_TIME", "CULLING_CHECK_PERIOD": "IDLENESS_CHECK_PERIOD"}


class NotebookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds where upstream has minutes. `cull_sources` are the activities that are asked for."""

    use_istio: bool = False
    istio_gateway: str = "kubeflow/kubeflow-gateway"
    istio_host: str = "*"
    cluster_domain: str = "cluster.local"
    add_fs_group: bool = True
    culling: bool = False
    idle_seconds: float = 1440 * 60.0
    check_seconds: float = 60.0
    dev: bool = False
    cull_sources: tuple[str, ...] = SOURCES
    cull_unreachable: bool = False
    cull_concurrency: int = 100

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> NotebookSettings:
        """Raises ValueError for a variable that cannot be understood; what is unset or empty has its default."""
        env = {name: value.strip() for name, value in environment.items()}
        for old, new in OLD_NAMES.items():
            if env.get(old):
                log.warning("notebook.old_variable", name=old, now=new, used=not env.get(new))
                env.setdefault(new, env[old])
        return cls(
            use_istio=_is_true(env, "USE_ISTIO"),
            istio_gateway=env.get("ISTIO_GATEWAY") or "kubeflow/kubeflow-gateway",
            istio_host=env.get("ISTIO_HOST") or "*",
            cluster_domain=env.get("CLUSTER_DOMAIN") or "cluster.local",
            add_fs_group=env.get("ADD_FSGROUP", "true").lower() in ("", "true"),
            culling=_is_true(env, "ENABLE_CULLING"),
            idle_seconds=_minutes(env, "CULL_IDLE_TIME", 1440),
            check_seconds=_minutes(env, "IDLENESS_CHECK_PERIOD", 1),
            dev=_is_true(env, "DEV"),
            cull_sources=_sources(env.get("CULL_SOURCES") or ",".join(SOURCES)),
            cull_unreachable=_is_true(env, "CULL_UNREACHABLE"),
            cull_concurrency=_count(env, "CULL_CONCURRENCY", 100),
        )


def parse_minutes(text: str) -> float:
    """Minutes as seconds; fractions are fine. Raises ValueError."""
    minutes = float(text)
    if not 0 < minutes < 1e9:
        raise ValueError(f"{text!r} is no number of minutes: expected more than 0")
    return minutes * 60


def _is_true(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").lower()
    if value not in ("", "true", "false"):
        log.warning("notebook.variable_not_true", name=name, value=env[name], taken_as="false")
    return value == "true"


def _minutes(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return parse_minutes(env.get(name) or str(default))
    except ValueError:
        raise ValueError(f"{name}={env[name]}: expected a number of minutes greater than 0") from None


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{name}={text}: expected a whole number from 1 on")
    return int(text)


def _sources(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [part for part in chosen if part not in SOURCES]:
        raise ValueError(f"CULL_SOURCES={text}: {unknown[0]!r} is none of {', '.join(SOURCES)}")
    if not chosen:  # by no source everything is idle
        raise ValueError(f"CULL_SOURCES={text}: expected at least one of {', '.join(SOURCES)}")
    return chosen

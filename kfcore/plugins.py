"""Entry points to controllers: every distribution that names a controller class under `kfcore.plugins` takes part. One
that cannot be imported is reported by name, and takes no other down.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import msgspec

from kfcore.jobs.options import OperatorOptions

if TYPE_CHECKING:
    from kfcore.api.meta import CustomResource
    from kfcore.controller.manager import Manager

__all__ = ["GROUP", "OperatorOptions", "Plugin", "PluginSet", "load_plugins"]

GROUP = "kfcore.plugins"


@runtime_checkable
class Plugin(Protocol):
    """What an entry point names: a class (such as a `JobController`) that can set itself up in a manager."""

    kind: ClassVar[type[CustomResource]]

    @classmethod
    def setup(cls, manager: Manager, options: OperatorOptions) -> Any: ...


class PluginSet(msgspec.Struct, frozen=True):
    """The controllers that are installed, and the entry points that failed, each with its name; sorted by name."""

    controllers: list[tuple[str, type[Plugin]]] = msgspec.field(default_factory=list)
    failures: list[tuple[str, Exception]] = msgspec.field(default_factory=list)

    def setup(self, manager: Manager, options: OperatorOptions) -> list[type[Plugin]]:
        """Set up every controller whose kind the options enable. Raises ValueError for a kind that nobody serves."""
        served = {plugin.kind.resource.kind.lower() for _, plugin in self.controllers}
        if unknown := [kind for kind in (*options.kinds, *options.workers_by_kind) if kind.lower() not in served]:
            known = ", ".join(sorted(plugin.kind.resource.kind for _, plugin in self.controllers)) or "none"
            raise ValueError(f"no plugin serves the kind {unknown[0]}: expected one of {known}")
        chosen = [plugin for _, plugin in self.controllers if options.enables(plugin.kind.resource.kind)]
        for plugin in chosen:
            plugin.setup(manager, options)
        return chosen


def load_plugins() -> PluginSet:
    """Import every registered controller. Of two for one kind, the first by name serves it; the other is a failure."""
    plugins = PluginSet()
    kinds: dict[str, str] = {}
    for entry in sorted(set(entry_points(group=GROUP)), key=lambda entry: (entry.name, entry.value)):
        try:
            plugin = _load(entry)
            kind = plugin.kind.resource.qualified_plural
            if kind in kinds:
                raise ValueError(f"{kind} is served by the plugin {kinds[kind]!r} already")
        except Exception as error:  # noqa: BLE001 — the boundary: a plugin is somebody else's code
            plugins.failures.append((entry.name, error))
        else:
            kinds[kind] = entry.name
            plugins.controllers.append((entry.name, plugin))
    return plugins


def _load(entry: EntryPoint) -> type[Plugin]:
    plugin = entry.load()
    missing = [name for name in ("kind", "setup") if not hasattr(plugin, name)]
    if not isinstance(plugin, type) or missing:
        raise TypeError(f"{entry.value} is no controller class: expected {' and '.join(missing or ['a class'])}")
    return plugin

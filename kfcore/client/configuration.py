"""kubernetes-asyncio's loader of kubeconfigs and service accounts, without its models: it finds server, credentials and
TLS, and nothing else of that library is loaded.

Whatever one imports of the library, its packages import all of it: 900 modules of models, which take 35 MiB and half a
second and which kfcore never uses. So here its packages are made without running their code. It runs when somebody asks
for anything else of them: to everybody else in the process the library is as it always is.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

PACKAGE = "kubernetes_asyncio"
CLIENT = f"{PACKAGE}.client"


def load_library() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Its modules `config`, `client.configuration` and `client.rest`."""
    names = f"{PACKAGE}.config", f"{CLIENT}.configuration", f"{CLIENT}.rest"
    if PACKAGE not in sys.modules:
        try:
            _load_alone(*names)
        except (ImportError, AttributeError):
            # A version that is made in another way: then as everybody imports it.
            for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
                del sys.modules[name]
    config, configuration, rest = (importlib.import_module(name) for name in names)
    return config, configuration, rest


def _load_alone(config: str, configuration: str, rest: str) -> None:
    outer = _on_demand(PACKAGE, None)
    inner = _on_demand(CLIENT, outer.__path__)
    vars(outer)["client"] = inner
    importlib.import_module(rest)
    # The loader takes these two from the package rather than from a module of it; the second brings the models.
    vars(inner)["Configuration"] = importlib.import_module(configuration).Configuration
    vars(inner)["ApiClient"] = _api_client
    importlib.import_module(config)
    del vars(inner)["ApiClient"]


def _on_demand(name: str, path: Any) -> ModuleType:
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not a package that can be found", name=name)
    package = sys.modules[name] = module_from_spec(spec)
    package.__class__ = _OnDemand
    return package


class _OnDemand(ModuleType):
    """A package whose code runs when something is asked of it that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)  # who looks through all modules asks for nothing of this one
        object.__setattr__(self, "__class__", ModuleType)
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _api_client(*arguments: Any, **named: Any) -> Any:
    """In the place of the class, for those of the loader's functions that make one."""
    return importlib.import_module(f"{CLIENT}.api_client").ApiClient(*arguments, **named)

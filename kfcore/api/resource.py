"""One kind's identity (group, version, kind, plural, scope), and the registry from identities to Python types.

Everything that turns an object into a URL or a manifest into a type goes through here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API server calls a kind.

    `group` is empty for core/v1. `subresources` names those served beside the object (`status`, `scale`).
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    api_version: str = field(init=False, compare=False, default="")
    base_path: str = field(init=False, compare=False, default="")

    def __post_init__(self) -> None:
        api_version = f"{self.group}/{self.version}" if self.group else self.version
        object.__setattr__(self, "api_version", api_version)
        object.__setattr__(self, "base_path", f"/apis/{api_version}" if self.group else f"/api/{api_version}")
        if not self.singular:
            object.__setattr__(self, "singular", self.kind.lower())

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def qualified_plural(self) -> str:
        """`pytorchjobs.kubeflow.org`: the name of the CRD, and how error messages name the kind."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection, an object or a subresource.

        Raises ValueError when a part could not be one path segment, so that data never becomes a path.
        """
        parts = [self.base_path]
        if self.namespaced and namespace:
            parts += ["namespaces", _segment(namespace, "namespace")]
        parts.append(self.plural)
        if name is not None:
            parts.append(_segment(name, "name"))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def pluralize(kind: str) -> str:
    """The usual English plural that code generators give a kind: `PyTorchJob` → `pytorchjobs`, `Proxy` → `proxies`."""
    name = kind.lower()
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}s"


def _segment(value: str, what: str) -> str:
    if not value or value in {".", ".."} or "/" in value or "%" in value or "?" in value or "#" in value:
        raise ValueError(f"{what} {value!r} is not a valid path segment: expected a Kubernetes {what}")
    return value


T = TypeVar("T")


class Registry(Generic[T]):
    """Types by apiVersion and kind. Several types may stand for one kind (projections); the first is its main type."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], type[T]] = {}

    def add(self, resource: Resource, type_: type[T]) -> None:
        self._types.setdefault((resource.api_version, resource.kind), type_)

    def get(self, api_version: str, kind: str) -> type[T] | None:
        return self._types.get((api_version, kind))

    def types(self) -> list[type[T]]:
        return list(self._types.values())

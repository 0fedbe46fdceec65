"""Whether a webhook or a policy is about a request: by its rules, and by its selectors of namespaces and objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_attributes import CREATE, UPDATE, AdmissionAttributes
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.status import not_found
from kfcore.apiserver.storage import Storage
from kfcore.client.selectors import LabelSelector

CONFIGURATIONS = "admissionregistration.k8s.io"
"""The group of those who are asked. Nobody is asked about them: a mistake in one could not be mended."""


class Matching:
    def __init__(self, kinds: Kinds, storage: Storage) -> None:
        self._kinds = kinds
        self._storage = storage

    def matches(
        self, about: Manifest, attributes: AdmissionAttributes, *, rules: str = "rules", excluded: str = ""
    ) -> ServedKind | None:
        """As which version of its kind `about` wants the request's object; None: it is about others.

        `rules` and `excluded` name its lists of rules; who can exclude is about everything without rules. Raises
        NotFound for a namespace that there is not.
        """
        if not self._selects_object(about.get("objectSelector"), attributes):
            return None
        equivalent = about.get("matchPolicy", "Equivalent") == "Equivalent"
        if excluded and self._by_rules(about.get(excluded) or (), attributes, equivalent=equivalent) is not None:
            return None
        listed = about.get(rules) or ()
        everything = bool(excluded) and not listed
        kind = attributes.kind if everything else self._by_rules(listed, attributes, equivalent=equivalent)
        if kind is None or not self._selects_namespace(about.get("namespaceSelector"), attributes):
            return None
        return kind

    def _by_rules(
        self, rules: Iterable[Manifest], attributes: AdmissionAttributes, *, equivalent: bool
    ) -> ServedKind | None:
        if any(_matches(rule, attributes, attributes.kind) for rule in rules):
            return attributes.kind
        if equivalent:
            for other in self._others(attributes.kind):
                if any(_matches(rule, attributes, other) for rule in rules):
                    return other
        return None

    def _others(self, kind: ServedKind) -> Iterator[ServedKind]:
        """The other versions of what is stored as one."""
        for other in self._kinds:
            if other.storage == kind.storage and other.resource != kind.resource:
                yield other

    def _selects_namespace(self, spec: Manifest | None, attributes: AdmissionAttributes) -> bool:
        selector = _selector(spec)
        of_namespaces = attributes.kind.storage == "namespaces"
        if not selector or (not attributes.namespace and not of_namespaces):
            return True
        if of_namespaces and not attributes.subresource and attributes.operation in (CREATE, UPDATE):
            return selector.matches(_labels(attributes.object))
        return selector.matches(_labels(self.namespace(attributes.namespace)))

    def namespace(self, name: str) -> Manifest:
        """Raises NotFound."""
        kind = self._kinds.at("", "v1", "namespaces")
        assert kind is not None
        stored = self._storage.collection("namespaces").get("", name)
        if stored is None:
            raise not_found(kind.resource, name)
        return stored.manifest

    @staticmethod
    def _selects_object(spec: Manifest | None, attributes: AdmissionAttributes) -> bool:
        selector = _selector(spec)
        if not selector:
            return True
        present = [one for one in (attributes.object, attributes.old) if one is not None]
        return any(selector.matches(_labels(one)) for one in present)


def _selector(spec: Manifest | None) -> LabelSelector:
    return LabelSelector.from_spec(spec) if spec else LabelSelector()


def _labels(manifest: Manifest | None) -> dict[str, str]:
    return ((manifest or {}).get("metadata") or {}).get("labels") or {}


def _matches(rule: Manifest, attributes: AdmissionAttributes, kind: ServedKind) -> bool:
    resource = kind.resource
    return (
        _lists(rule.get("operations"), attributes.operation)
        and _lists(rule.get("apiGroups"), resource.group)
        and _lists(rule.get("apiVersions"), resource.version)
        and _in_scope(rule.get("scope", "*"), attributes)
        and any(_names(text, resource.plural, attributes.subresource) for text in rule.get("resources") or ())
        and (not rule.get("resourceNames") or attributes.name in rule["resourceNames"])
    )


def _lists(values: Any, value: str) -> bool:
    return bool(values) and ("*" in values or value in values)


def _in_scope(scope: str, attributes: AdmissionAttributes) -> bool:
    """A Namespace is no part of one."""
    outside = not attributes.namespace or attributes.kind.storage == "namespaces"
    return scope == "*" or (scope == "Cluster") == outside


def _names(text: str, plural: str, subresource: str) -> bool:
    """Whether `pods`, `pods/status`, `*`, `*/scale` or `pods/*` is what is asked for."""
    resource, _, sub = text.partition("/")
    return resource in ("*", plural) and sub in ("*", subresource)

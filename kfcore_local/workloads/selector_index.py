"""Which pods a service selects, and which services a pod: answered from the cache in constant time.

Services of one namespace use few different sets of selector keys, so each set met gets an index of its own, by the
values of its keys: over the services, and over the pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from kfcore.api.meta import Object
from kfcore.cache.cache import Cache
from kfcore.controller.controller import Request
from kfcore_local.workloads.kinds import Pod, Service

Keys = tuple[str, ...]


class SelectorIndex:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pods = cache.informer(Pod).store
        self._services = cache.informer(Service).store
        self._known: dict[Keys, str] = {}

    def pods_of(self, service: Service) -> list[Pod]:
        selector = service.spec.selector
        index = self._index(tuple(sorted(selector)))
        return list(self._pods.by_index(index, _value(service.namespace, selector, sorted(selector))))

    def services_of(self, pod: Pod) -> Iterable[Request]:
        """The services whose endpoints the pod may be. One whose keys were not met yet finds the pod by itself."""
        labels = pod.metadata.labels
        for keys, index in self._known.items():
            if all(key in labels for key in keys):
                for service in self._services.by_index(index, _value(pod.namespace, labels, keys)):
                    yield Request(service.namespace, service.name)

    def _index(self, keys: Keys) -> str:
        if keys not in self._known:
            name = f"selector:{','.join(keys)}"
            self._cache.add_index(Pod, name, _by(keys, lambda pod: pod.metadata.labels))
            self._cache.add_index(Service, name, _by(keys, _selector_if(keys)))
            self._known[keys] = name
        return self._known[keys]


def _selector_if(keys: Keys) -> Callable[[Service], Mapping[str, str]]:
    def selector(service: Service) -> Mapping[str, str]:
        return service.spec.selector if len(service.spec.selector) == len(keys) else {}

    return selector


def _by(keys: Keys, labels_of: Callable[..., Mapping[str, str]]) -> Callable[[Object], Sequence[str]]:
    def values(obj: Object) -> Sequence[str]:
        labels = labels_of(obj)
        return (_value(obj.namespace, labels, keys),) if all(key in labels for key in keys) else ()

    return values


def _value(namespace: str, labels: Mapping[str, str], keys: Iterable[str]) -> str:
    return "\n".join((namespace, *(labels[key] for key in keys)))

"""What every namespace of a cluster has in it from the start: the service account `default`, and the authority that
pods trust the API by; in the first namespace, the API's own service. They come back when they are deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfcore.api.meta import Manifest

if TYPE_CHECKING:
    from kfcore.apiserver.kinds import ServedKind
    from kfcore.apiserver.objects import Objects
    from kfcore.apiserver.storage import Stored

SERVICE_ACCOUNT, ROOT_AUTHORITY = "default", "kube-root-ca.crt"
SERVICE_ADDRESS = "10.96.0.1"
_FIRST = "default"
_DESCRIBED = "The authority to verify the API server by."


class NamespaceContents:
    """`authority` is a certificate (PEM), empty where the API is served without TLS."""

    def __init__(self, objects: Objects, authority: str) -> None:
        self._objects = objects
        data = {"ca.crt": authority} if authority else {}
        described = {"kubernetes.io/description": _DESCRIBED}
        self._contents: dict[tuple[str, str], Manifest] = {
            ("serviceaccounts", SERVICE_ACCOUNT): {},
            ("configmaps", ROOT_AUTHORITY): {"metadata": {"annotations": described}, "data": data},
        }
        namespaces = self._kind("namespaces")
        for stored in list(objects.collection(namespaces).select()):
            self._fill(stored)
        self._publish_service()
        self._renew(data)
        objects.on_change.append(self._changed)

    def _kind(self, plural: str) -> ServedKind:
        kind = self._objects.kinds.at("", "v1", plural)
        assert kind is not None
        return kind

    def _changed(self, kind: ServedKind, previous: Stored | None, current: Stored | None) -> None:
        if kind.storage == "namespaces":
            if previous is None and current is not None:
                self._fill(current)
        elif previous is not None and current is None and (kind.storage, previous.key[1]) in self._contents:
            namespace = self._objects.collection(self._kind("namespaces")).get("", previous.key[0])
            if namespace is not None:
                self._fill(namespace)

    def _fill(self, namespace: Stored) -> None:
        if "deletionTimestamp" in namespace.manifest["metadata"]:
            return
        for (plural, name), content in self._contents.items():
            self._create(plural, namespace.key[1], name, content)

    def _create(self, plural: str, namespace: str, name: str, content: Manifest) -> None:
        kind = self._kind(plural)
        if self._objects.collection(kind).get(namespace, name) is None:
            metadata = {**(content.get("metadata") or {}), "name": name}
            self._objects.create(kind, namespace, {**content, "metadata": metadata})

    def _publish_service(self) -> None:
        ports = [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}]
        labels = {"component": "apiserver", "provider": "kubernetes"}
        spec = {"ports": ports, "clusterIP": SERVICE_ADDRESS}
        self._create("services", _FIRST, "kubernetes", {"metadata": {"labels": labels}, "spec": spec})

    def _renew(self, data: Manifest) -> None:
        """Of kept data: the authority is another one with each start."""
        kind = self._kind("configmaps")
        for stored in list(self._objects.collection(kind).select()):
            if stored.key[1] == ROOT_AUTHORITY and stored.manifest.get("data", {}) != data:
                self._objects.update(kind, *stored.key, lambda config: {**config, "data": data})

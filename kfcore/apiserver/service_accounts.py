"""What admission gives a new pod of its service account: its name, its pull secrets, and a volume with its token, the
authority and the namespace, mounted where every client library looks for them.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.namespace_contents import ROOT_AUTHORITY, SERVICE_ACCOUNT
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.status import forbidden

TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
_POD = Resource("", "v1", "Pod", "pods")
_TOKEN_SECONDS = 3607
_MODE = 0o644
_CONTAINER_LISTS = ("initContainers", "containers")


class ServiceAccounts:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def admit(self, pod: Manifest) -> None:
        """Raises Forbidden for an account that is not there."""
        spec, namespace = pod.get("spec"), pod["metadata"].get("namespace", "")
        if not isinstance(spec, dict):
            return
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or SERVICE_ACCOUNT
        account = self._read("serviceaccounts", namespace, name)
        if account is None:
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden(_POD, pod["metadata"].get("name", ""), why)
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]
        automount = spec.get("automountServiceAccountToken")
        if (account.get("automountServiceAccountToken") if automount is None else automount) is not False:
            self._mount_token(spec, namespace)

    def _mount_token(self, spec: dict[str, Any], namespace: str) -> None:
        """Into each container that has nothing in its place."""
        without = [
            container
            for part in _CONTAINER_LISTS
            for container in spec.get(part) or ()
            if all(mount.get("mountPath") != TOKEN_DIRECTORY for mount in container.get("volumeMounts") or ())
        ]
        if not without:
            return
        name = self._objects.generated_name("kube-api-access-")
        for container in without:
            mount = {"name": name, "readOnly": True, "mountPath": TOKEN_DIRECTORY}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
        token = {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}}
        key = "ca.crt"
        authority = {"configMap": {"name": ROOT_AUTHORITY, "items": [{"key": key, "path": key}]}}
        field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
        own = {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}}
        published = self._read("configmaps", namespace, ROOT_AUTHORITY) or {}
        sources = [token, authority, own] if key in (published.get("data") or {}) else [token, own]
        volume = {"name": name, "projected": {"sources": sources, "defaultMode": _MODE}}
        spec["volumes"] = [*(spec.get("volumes") or ()), volume]

    def _read(self, plural: str, namespace: str, name: str) -> Manifest | None:
        kind = self._objects.kinds.at("", "v1", plural)
        assert kind is not None
        stored = self._objects.collection(kind).get(namespace, name)
        return None if stored is None else stored.manifest

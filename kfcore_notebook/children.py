"""What a Notebook becomes: StatefulSet, Service and VirtualService as manifests. Pure: a Notebook and the settings come
in; whether anything has to be written is `applying.py`.
"""

from __future__ import annotations

import json
from typing import Any

from kfcore.api.core import Service as CoreService
from kfcore.api.meta import Manifest, owner_reference, untyped
from kfcore.api.resource import Resource
from kfcore_notebook.api import REQUEST_HEADERS, REWRITE_URI, Notebook
from kfcore_notebook.settings import NotebookSettings

StatefulSet = untyped(
    Resource("apps", "v1", "StatefulSet", "statefulsets", subresources=frozenset({"status", "scale"}))
)
Service = untyped(CoreService.resource)
VirtualService = untyped(Resource("networking.istio.io", "v1alpha3", "VirtualService", "virtualservices"))

NAME_LABEL = "notebook-name"
PORT = 8888
HOME = "/home/jovyan"


def stateful_set(notebook: Notebook, settings: NotebookSettings) -> Manifest:
    name = notebook.name
    own_labels = {"statefulset": name, NAME_LABEL: name}
    annotations = {
        key: value
        for key, value in notebook.metadata.annotations.items()
        if "kubectl" not in key and "notebook" not in key
    }
    template = {
        "metadata": {"labels": {**own_labels, **notebook.metadata.labels}, "annotations": annotations},
        "spec": _pod_spec(notebook, settings),
    }
    return {
        "metadata": _metadata(notebook, name),
        "spec": {
            "replicas": 0 if notebook.is_stopped else 1,
            "selector": {"matchLabels": {"statefulset": name}},
            "template": template,
        },
    }


def service(notebook: Notebook) -> Manifest:
    ports = notebook.spec.template.containers[0].get("ports") or []
    target = ports[0]["containerPort"] if ports else PORT
    port = {"name": f"http-{notebook.name}", "port": 80, "targetPort": target, "protocol": "TCP"}
    return {
        "metadata": _metadata(notebook, notebook.name),
        "spec": {"type": "ClusterIP", "selector": {"statefulset": notebook.name}, "ports": [port]},
    }


def virtual_service(notebook: Notebook, settings: NotebookSettings) -> Manifest:
    prefix = f"{notebook.prefix}/"
    host = f"{notebook.name}.{notebook.namespace}.svc.{settings.cluster_domain}"
    route = {
        "match": [{"uri": {"prefix": prefix}}],
        "rewrite": {"uri": notebook.metadata.annotations.get(REWRITE_URI) or prefix},
        "headers": {"request": {"set": request_headers(notebook)[0]}},
        "route": [{"destination": {"host": host, "port": {"number": 80}}}],
    }
    return {
        "metadata": _metadata(notebook, f"notebook-{notebook.namespace}-{notebook.name}"),
        "spec": {"hosts": [settings.istio_host], "gateways": [settings.istio_gateway], "http": [route]},
    }


def request_headers(notebook: Notebook) -> tuple[dict[str, str], str]:
    """The headers to set on requests, and what is wrong with the annotation that names them."""
    text = notebook.metadata.annotations.get(REQUEST_HEADERS, "")
    if not text:
        return {}, ""
    try:
        headers: Any = json.loads(text)
    except ValueError as error:
        return {}, f"{REQUEST_HEADERS} is no JSON: {error}"
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        return {}, f"{REQUEST_HEADERS}: expected a JSON object of header names and texts"
    return headers, ""


def _pod_spec(notebook: Notebook, settings: NotebookSettings) -> Manifest:
    template = notebook.spec.template.copy()
    server = template.containers[0]
    if not server.get("workingDir"):
        server["workingDir"] = HOME
    if not server.get("ports"):
        server["ports"] = [{"name": "notebook-port", "containerPort": PORT, "protocol": "TCP"}]
    variables = server.get("env") or []
    if all(variable.get("name") != "NB_PREFIX" for variable in variables):
        server["env"] = [*variables, {"name": "NB_PREFIX", "value": notebook.prefix}]
    if settings.add_fs_group and template.spec.get("securityContext") is None:
        template.spec["securityContext"] = {"fsGroup": 100}
    return template.spec


def _metadata(notebook: Notebook, name: str) -> Manifest:
    return {"name": name, "namespace": notebook.namespace, "ownerReferences": [owner_reference(notebook)]}

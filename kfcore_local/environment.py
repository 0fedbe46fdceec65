"""A container's environment and command line: the pod's spec and the objects that it refers to come in, values go out.

Rules of the Kubernetes API: later variables win over earlier ones, `env` over `envFrom`; `$(NAME)` stands for a
variable defined before, `$$(NAME)` for itself. The image is this machine, so kfcore's own environment is what a
container starts from.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kfcore.api.meta import Unstructured, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ApiError, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore_local.pods import Container, EnvVar, KeySelector, LocalPod, ResourceSelector, SourceName
from kfcore_local.quantity import in_units

CONFIG_MAP = untyped(Resource("", "v1", "ConfigMap", "configmaps"))
SECRET = untyped(Resource("", "v1", "Secret", "secrets"))

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_METADATA_KEY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]$")
_NOT_INHERITED = re.compile(r"KUBERNETES_|KFCORE_|KUBECONFIG$")


class ConfigError(Exception):
    """A container's configuration refers to something that is not there; it may come to be."""


class PodFacts(msgspec.Struct, frozen=True):
    """What the kubelet knows of a pod beyond its manifest."""

    pod_ip: str
    host_ip: str
    node_name: str
    memory_bytes: int = msgspec.field(default_factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    cpus: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)


class Variables(msgspec.Struct, frozen=True):
    """A container's variables in order. `literal` names those whose text is the manifest's own, not a reference's."""

    values: dict[str, str]
    literal: frozenset[str]


def base_environment(bin_directory: Path, image_programs: Path | None = None) -> dict[str, str]:
    """What an image's environment would be: this process's own, with kfcore's tools and interpreter first on PATH; or
    with those of the image, where a virtual environment stands for it.
    """
    env = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.match(name)}
    search = [str(bin_directory), str(image_programs or Path(sys.executable).parent), env.get("PATH") or os.defpath]
    return {**env, "PATH": os.pathsep.join(search)}


async def variables(client: Client, pod: LocalPod, container: Container, facts: PodFacts) -> Variables:
    """The variables that the manifest gives a container. Raises ConfigError."""
    values: dict[str, str] = {}
    literal: set[str] = set()
    for source in container.env_from:
        for reference, kind in ((source.config_map_ref, CONFIG_MAP), (source.secret_ref, SECRET)):
            if reference is not None:
                data = await _data(client, kind, reference, pod.namespace)
                values |= {source.prefix + key: value for key, value in data.items()}
    for variable in container.env:
        value = await _value(client, pod, container, facts, variable, values)
        if value is not None:
            values[variable.name] = value
            literal.discard(variable.name)
            if variable.value_from is None:
                literal.add(variable.name)
    return Variables(values, frozenset(literal))


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, and stays as it is when there is none."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def command_line(container: Container, values: Mapping[str, str]) -> list[str]:
    return [expand(part, values) for part in (*container.command, *container.args)]


async def _value(
    client: Client, pod: LocalPod, container: Container, facts: PodFacts, variable: EnvVar, values: Mapping[str, str]
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, values)
    if source.field_ref is not None:
        return field_value(pod, facts, source.field_ref.field_path)
    if source.resource_field_ref is not None:
        return resource_value(pod, container, facts, source.resource_field_ref)
    for selector, kind in ((source.config_map_key_ref, CONFIG_MAP), (source.secret_key_ref, SECRET)):
        if selector is not None:
            return await _key(client, kind, selector, pod.namespace)
    return ""


def field_value(pod: LocalPod, facts: PodFacts, path: str) -> str:
    """A downward API field. Raises ConfigError for a path that the API does not offer."""
    metadata = pod.metadata
    if match := _METADATA_KEY.match(path):
        return (metadata.labels if match[1] == "labels" else metadata.annotations).get(match[2], "")
    fields = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}; expected one of {', '.join(fields)}")
    return fields[path]


def resource_value(pod: LocalPod, container: Container | None, facts: PodFacts, reference: ResourceSelector) -> str:
    """A container's limit or request in units of the divisor. Raises ConfigError."""
    named = reference.container_name or (container.name if container is not None else "")
    target = next((c for c in (*pod.spec.init_containers, *pod.spec.containers) if c.name == named), None)
    if target is None:
        raise ConfigError(f"resourceFieldRef: container {named!r} not found in pod {pod.key}")
    section, _, resource = reference.resource.partition(".")
    quantities = target.resources.limits if section == "limits" else target.resources.requests
    # Without a limit the API gives what the node has.
    capacity = {"cpu": facts.cpus, "memory": facts.memory_bytes} if section == "limits" else {}
    quantity = quantities.get(resource, capacity.get(resource, 0))
    try:
        return in_units(quantity, reference.divisor)
    except ValueError as error:
        raise ConfigError(f"resourceFieldRef {reference.resource}: {error}") from error


async def _key(client: Client, kind: type[Unstructured], selector: KeySelector, namespace: str) -> str | None:
    data = await _data(client, kind, SourceName(name=selector.name, optional=selector.optional), namespace)
    if selector.key not in data:
        if selector.optional:
            return None
        raise ConfigError(f"couldn't find key {selector.key} in {kind.resource.kind} {namespace}/{selector.name}")
    return data[selector.key]


async def _data(client: Client, kind: type[Unstructured], source: SourceName, namespace: str) -> dict[str, str]:
    try:
        raw = (await client.get(kind, source.name, namespace)).raw
    except NotFound:
        if source.optional:
            return {}
        raise ConfigError(f'{kind.resource.kind.lower()} "{source.name}" not found') from None
    except (ApiError, ConnectionFailed, ValueError) as error:
        raise ConfigError(f"cannot read {kind.resource.kind} {namespace}/{source.name}: {error}") from error
    data: Mapping[str, Any] = raw.get("data") or {}
    if kind is SECRET:
        return {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in data.items()}
    return {key: str(value) for key, value in data.items()}


def missing_command(container: Container) -> str:
    """What to tell of a container that leaves its command to the image."""
    return (
        f"container {container.name!r} gives no command: kfcore local runs commands on this machine and does not pull "
        f"the image {container.image!r}; write what the image would run into the container's `command`, or say it with "
        "--image NAME=COMMAND"
    )

"""What a volume shows of API objects: ConfigMaps, Secrets, the pod's own fields, a service account's token. Projections
come in, files go out; where they are written is `pod_volumes.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from kfcore.api.meta import Unstructured
from kfcore.client.errors import ApiError, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore_local import environment
from kfcore_local.atomic_directory import File
from kfcore_local.environment import CONFIG_MAP, SECRET, ConfigError, PodFacts
from kfcore_local.pods import DownwardFile, LocalPod, ObjectFiles, Projections
from kfcore_local.service_account_tokens import TokenFailed, Tokens


class MountError(Exception):
    """A volume cannot be set up now; the message says why, in kubelet's words."""


async def contents(
    client: Client, pod: LocalPod, facts: PodFacts, tokens: Tokens, projections: Projections
) -> dict[str, File]:
    """The files of a volume, by relative path. Raises MountError."""
    files: dict[str, File] = {}
    for source in projections.sources:
        for reference, kind in ((source.config_map, CONFIG_MAP), (source.secret, SECRET)):
            if reference is not None:
                files |= await _of_object(client, kind, reference, pod.namespace, projections.default_mode)
        if source.downward_api is not None:
            for item in source.downward_api.items:
                mode = projections.default_mode if item.mode is None else item.mode
                files[_checked(item.path)] = File(_field(pod, facts, item).encode(), mode)
        if (token := source.service_account_token) is not None:
            try:
                text = await tokens.get(token.audience, token.expiration_seconds)
            except TokenFailed as error:
                raise MountError(f"failed to fetch token: {error}") from error
            files[_checked(token.path)] = File(text.encode(), projections.default_mode)
    return files


async def _of_object(
    client: Client, kind: type[Unstructured], source: ObjectFiles, namespace: str, default_mode: int
) -> dict[str, File]:
    name, noun = source.secret_name or source.name, kind.resource.kind.lower()
    try:
        raw = (await client.get(kind, name, namespace)).raw
    except NotFound:
        if source.optional:
            return {}
        raise MountError(f'{noun} "{name}" not found') from None
    except (ApiError, ConnectionFailed, ValueError) as error:
        raise MountError(f"cannot read {noun} {namespace}/{name}: {error}") from error
    data = _data(kind, raw)
    if not source.items:
        return {_checked(key): File(value, default_mode) for key, value in data.items()}
    files = {}
    for item in source.items:
        if item.key in data:
            files[_checked(item.path)] = File(data[item.key], default_mode if item.mode is None else item.mode)
        elif not source.optional:
            kind_of_key = "config" if kind is CONFIG_MAP else "secret"
            raise MountError(f"{noun} {name} references non-existent {kind_of_key} key: {item.key}")
    return files


def _data(kind: type[Unstructured], raw: Mapping[str, Any]) -> dict[str, bytes]:
    texts: Mapping[str, str] = raw.get("data") or {}
    if kind is SECRET:
        return {key: base64.b64decode(value or "") for key, value in texts.items()}
    binary: Mapping[str, str] = raw.get("binaryData") or {}
    decoded = {key: base64.b64decode(value or "") for key, value in binary.items()}
    return {**decoded, **{key: str(value).encode() for key, value in texts.items()}}


def _field(pod: LocalPod, facts: PodFacts, item: DownwardFile) -> str:
    try:
        if item.resource_field_ref is not None:
            return environment.resource_value(pod, None, facts, item.resource_field_ref)
        path = item.field_ref.field_path if item.field_ref is not None else ""
        if path in ("metadata.labels", "metadata.annotations"):
            pairs = pod.metadata.labels if path == "metadata.labels" else pod.metadata.annotations
            return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(pairs.items()))
        return environment.field_value(pod, facts, path)
    except ConfigError as error:
        raise MountError(str(error)) from error


def _quoted(value: str) -> str:
    """As Go quotes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return '"' + escaped.replace("\t", "\\t") + '"'


def _checked(path: str) -> str:
    """A path of the API is data: it must not lead anywhere else."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise MountError(f"invalid path {path!r}: must be relative, and must not start with or contain '..'")
    return "/".join(part for part in parts if part not in ("", "."))

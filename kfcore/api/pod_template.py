"""A pod template as a person wrote it: the raw mapping, with checks of the parts that kfcore uses and ways to change a
copy of it. Whatever kfcore does not know stays in place, in order and value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from kfcore.api.meta import Manifest

TEMPLATE_SCHEMA = "x-kfcore-pod-template"
"""Marks, in a pydantic JSON schema, where the PodTemplateSpec schema belongs in a CRD."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore")


class _Env(_Part):
    name: Annotated[str, Field(min_length=1)]
    value: str | None = None
    value_from: dict[str, Any] | None = None


class _Port(_Part):
    name: str | None = None
    container_port: Annotated[int, Field(ge=1, le=65535)]
    host_port: int | None = None
    protocol: str | None = None


class _Container(_Part):
    name: Annotated[str, Field(min_length=1)]
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    working_dir: str | None = None
    env: list[_Env] | None = None
    env_from: list[dict[str, Any]] | None = None
    ports: list[_Port] | None = None
    resources: dict[str, Any] | None = None
    volume_mounts: list[dict[str, Any]] | None = None
    image_pull_policy: str | None = None


class _PodSpec(_Part):
    containers: list[_Container]
    init_containers: list[_Container] | None = None
    volumes: list[dict[str, Any]] | None = None
    restart_policy: str | None = None
    scheduler_name: str | None = None
    service_account_name: str | None = None
    node_selector: dict[str, str] | None = None
    host_network: bool | None = None
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None


class _Metadata(_Part):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


class _Template(_Part):
    metadata: _Metadata | None = None
    spec: _PodSpec | None = None


_check = TypeAdapter(_Template).validate_python


class PodTemplate:
    """A core/v1 PodTemplateSpec around its `raw` mapping.

    The template of a job that was read is shared with the cache: change a `copy()`.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: Manifest | None = None) -> None:
        self.raw: Manifest = {} if raw is None else raw

    def copy(self) -> Self:
        """An independent template."""
        return type(self)(_copy(self.raw))

    @property
    def labels(self) -> dict[str, str]:
        """The labels, to read and to change."""
        return self._metadata("labels")

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations, to read and to change."""
        return self._metadata("annotations")

    @property
    def spec(self) -> Manifest:
        """The pod spec, to read and to change."""
        spec: Manifest = _mapping(self.raw, "spec")
        return spec

    @property
    def containers(self) -> list[Manifest]:
        return list((self.raw.get("spec") or {}).get("containers") or [])

    @property
    def init_containers(self) -> list[Manifest]:
        return list((self.raw.get("spec") or {}).get("initContainers") or [])

    def container(self, name: str) -> Manifest | None:
        """The first main container of this name."""
        return next((container for container in self.containers if container.get("name") == name), None)

    def set_env(self, name: str, value: str, *, container: str | None = None) -> None:
        """Give an environment variable to every main container, or to one.

        The last of equal names wins in Kubernetes; a variable that is there already is replaced and put last, so that
        the list holds each name once.
        """
        for target in self.containers:
            if container is None or target.get("name") == container:
                variables = [variable for variable in target.get("env") or [] if variable.get("name") != name]
                target["env"] = [*variables, {"name": name, "value": value}]

    def add_init_container(self, container: Manifest) -> None:
        """Append an init container after those that are there."""
        self.spec["initContainers"] = [*self.init_containers, container]

    def port(self, container: str, name: str) -> int | None:
        """The number of a container's port, by the port's name."""
        for port in (self.container(container) or {}).get("ports") or []:
            if port.get("name") == name:
                number: int = port["containerPort"]
                return number
        return None

    def _metadata(self, part: str) -> dict[str, str]:
        values: dict[str, str] = _mapping(_mapping(self.raw, "metadata"), part)
        return values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PodTemplate) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PodTemplate({self.raw!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._load,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda template: template.raw),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", TEMPLATE_SCHEMA: True}

    @classmethod
    def _load(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        _check(value)
        return cls(value)


def _mapping(parent: Manifest, key: str) -> Any:
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    return value


def _copy(value: Any) -> Any:
    """A deep copy of JSON: several times as fast as `copy.deepcopy`, which must expect anything."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def env_of(container: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """A container's environment as (name, value); value is None where it comes from elsewhere."""
    for variable in container.get("env") or []:
        yield variable["name"], variable.get("value")

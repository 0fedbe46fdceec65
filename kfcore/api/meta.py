"""Object metadata, owner references, and the two bases of every object: frozen Structs for what the API server writes,
pydantic models for what a person writes. Both look alike to a controller: `Object`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Protocol, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from kfcore.api.resource import Registry, Resource, pluralize

Manifest = dict[str, Any]
"""An object as JSON: what a YAML file or a request body holds."""


CRD_DEFAULT = "x-kfcore-default"
"""In a field's `json_schema_extra`: the default that the CRD's schema carries, so that the API server stores it."""
CEL = "x-kubernetes-validations"
"""In the `json_schema_extra` of a field or a model: its rules, `[{"rule": …, "message": …}]`."""


def rfc3339(time: datetime) -> str:
    """`2024-01-31T09:30:00Z`, with a fraction only where there is one: how Kubernetes writes a time."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]
"""A time in a pydantic model, written as the API server does."""


class OwnerReferenceLike(Protocol):
    @property
    def api_version(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def controller(self) -> bool | None: ...


class Metadata(Protocol):
    """What every object's metadata offers to read, whichever library decoded it."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def creation_timestamp(self) -> datetime | None: ...
    @property
    def deletion_timestamp(self) -> datetime | None: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def annotations(self) -> Mapping[str, str]: ...
    @property
    def owner_references(self) -> Sequence[OwnerReferenceLike]: ...
    @property
    def finalizers(self) -> Sequence[str]: ...


class Object(Protocol):
    """Anything with an identity and metadata: a Struct, a custom resource, or an untyped object."""

    resource: ClassVar[Resource]

    @property
    def metadata(self) -> Metadata: ...
    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def key(self) -> str: ...


registry: Registry[Object] = Registry()
"""Every kind that a Python type was written for."""


class _Identity:
    """Shortcuts shared by every object."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return self.metadata.name  # type: ignore[attr-defined,no-any-return]

    @property
    def namespace(self) -> str:
        return self.metadata.namespace  # type: ignore[attr-defined,no-any-return]

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a cluster-scoped object."""
        metadata: Metadata = self.metadata  # type: ignore[attr-defined]
        return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """Base of the parts of a server-written object: frozen, camelCase on the wire, unknown fields are skipped."""


class OwnerReference(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Struct, frozen=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: tuple[str, ...] = ()


class ServerObject(_Identity, Struct, frozen=True):
    """Base of an object that the API server writes and kfcore reads, projected to the declared fields.

    A subclass sets `resource`; further types with the same resource are further projections of the kind.
    """

    resource: ClassVar[Resource]
    metadata: ObjectMeta = ObjectMeta()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "resource" in cls.__dict__:
            registry.add(cls.resource, cls)


class Model(BaseModel):
    """Base of what a person writes: validated, camelCase on the wire, unknown fields kept."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


class CustomOwnerReference(Model):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class CustomObjectMeta(Model):
    """The metadata of a custom resource; unlike `ObjectMeta` it keeps what it does not know."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: list[CustomOwnerReference] = Field(default_factory=list)
    finalizers: list[str] = Field(default_factory=list)


class CustomResource(_Identity, Model):
    """Base of a custom resource's type.

    Class arguments: `group`, `version`, `kind`, and where the defaults do not fit `plural`, `namespaced`,
    `short_names`, `subresources`::

        class EchoJob(CustomResource, group="example.com", version="v1", kind="EchoJob"):
            spec: EchoJobSpec
    """

    resource: ClassVar[Resource]
    other_versions: ClassVar[tuple[str, ...]] = ()
    """The versions that the kind is served in beside its own, with the same schema."""
    scale_paths: ClassVar[dict[str, str]] = {}
    """`specReplicasPath`, `statusReplicasPath`, `labelSelectorPath` of the scale subresource; empty: there is none."""
    printer_columns: ClassVar[tuple[Manifest, ...]] = ()
    """What `kubectl get` shows beside name and age: `{"name": …, "type": "string", "jsonPath": ".spec.text"}`."""

    api_version: str = ""
    kind: str = ""
    metadata: CustomObjectMeta = Field(default_factory=CustomObjectMeta)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the class arguments off pydantic's hands; `__pydantic_init_subclass__` reads them."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        group: str | None = None,
        version: str = "v1",
        kind: str | None = None,
        plural: str | None = None,
        namespaced: bool = True,
        short_names: tuple[str, ...] = (),
        subresources: frozenset[str] = frozenset({"status"}),
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if group is None:
            return
        kind = kind or cls.__name__
        cls.resource = Resource(
            group, version, kind, plural or pluralize(kind), namespaced, "", short_names, subresources
        )
        registry.add(cls.resource, cls)

    @classmethod
    def adapt_schema(cls, schema: Manifest) -> None:
        """Change the schema of the CRD, in place, where the types do not say what it should be."""

    @field_validator("api_version", "kind")
    @classmethod
    def _matches_the_type(cls, value: str, info: ValidationInfo) -> str:
        if resource := getattr(cls, "resource", None):
            expected = resource.api_version if info.field_name == "api_version" else resource.kind
            if value != expected:
                raise ValueError(f"expected {expected!r}")
        return value


class Unstructured(_Identity):
    """An object of a kind that no Python type was written for: its JSON in `raw`, and its metadata decoded.

    `untyped(resource)` makes the type that a client call takes.
    """

    __slots__ = ("_metadata", "raw")
    resource: ClassVar[Resource]

    def __init__(self, raw: Manifest) -> None:
        self.raw = raw
        self._metadata: ObjectMeta | None = None

    @property
    def metadata(self) -> ObjectMeta:
        if self._metadata is None:
            self._metadata = msgspec.convert(self.raw.get("metadata") or {}, ObjectMeta)
        return self._metadata

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unstructured) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.resource.kind} {self.key}>"

    @classmethod
    def of(cls, raw: Manifest) -> Self:
        return cls(raw)


_untyped: dict[Resource, type[Unstructured]] = {}


def untyped(resource: Resource) -> type[Unstructured]:
    """The type of `resource`'s objects as plain JSON; the same type for the same resource."""
    if resource not in _untyped:
        _untyped[resource] = type(resource.kind, (Unstructured,), {"resource": resource, "__slots__": ()})
    return _untyped[resource]


def controller_of(obj: Object) -> OwnerReferenceLike | None:
    """The owner reference marked as controller, if there is one."""
    for reference in obj.metadata.owner_references:
        if reference.controller:
            return reference
    return None


def owner_reference(owner: Object) -> Manifest:
    """A controller reference to `owner`, for `metadata.ownerReferences` of what it creates."""
    return {
        "apiVersion": owner.resource.api_version,
        "kind": owner.resource.kind,
        "name": owner.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }

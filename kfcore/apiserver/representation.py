"""The form in which a client wants objects: as they are, metadata only, or rows of a table (`Accept: …;as=Table`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver import table
from kfcore.apiserver.kinds import ServedKind
from kfcore.client.errors import NotAcceptable, StatusDetails

MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_READABLE = frozenset({"application/json", "application/*", "*/*", "application/yaml"})
_VERSIONS = ("v1", "v1beta1")


class Representation(msgspec.Struct, frozen=True):
    """`as_` is empty (as they are), `PartialObjectMetadata` or `Table`; `include` is what table rows carry along."""

    as_: str
    include: str
    now: Callable[[], datetime]
    version: str = "v1"

    @property
    def plain(self) -> bool:
        return not self.as_

    def one(self, kind: ServedKind, manifest: Manifest) -> bytes:
        if self.as_ == "Table":
            return encode_json(self._table(kind, [manifest], _version(manifest)))
        if self.as_ == "PartialObjectMetadataList":
            raise NotAcceptable(
                f"you requested PartialObjectMetadataList, but the requested object is not a list ({_go_type(kind)})"
            )
        return encode_json(self._partial(manifest))

    def many(self, kind: ServedKind, manifests: Sequence[Manifest], metadata: Manifest) -> bytes:
        if self.as_ == "Table":
            return encode_json(self._table(kind, manifests, metadata))
        if self.as_ == "PartialObjectMetadata":
            raise NotAcceptable(
                f"you requested PartialObjectMetadata, but the requested object is a list ({_go_type(kind, 'List')})"
            )
        items = [self._partial(manifest) for manifest in manifests]
        return encode_json(
            {"kind": self.as_, "apiVersion": f"meta.k8s.io/{self.version}", "metadata": metadata, "items": items}
        )

    def events(self, kind: ServedKind) -> Callable[[str, Manifest], bytes]:
        """The function that makes a watch event's object (of the type given); one for each watch, since a table's
        columns are told once.
        """
        if self.as_ != "Table":
            return lambda _, manifest: encode_json(self._partial(manifest))
        told = False

        def show(type_: str, manifest: Manifest) -> bytes:
            nonlocal told
            body = self._table(kind, [] if type_ == "BOOKMARK" else [manifest], _version(manifest))
            if told:
                body["columnDefinitions"] = None
            told = True
            return encode_json(body)

        return show

    def _table(self, kind: ServedKind, manifests: Sequence[Manifest], metadata: Manifest) -> Manifest:
        built = table.build(kind, manifests, metadata, include=self.include, now=self.now())
        return built if self.version == "v1" else {**built, "apiVersion": f"meta.k8s.io/{self.version}"}

    def _partial(self, manifest: Manifest) -> Manifest:
        kind, version = "PartialObjectMetadata", f"meta.k8s.io/{self.version}"
        return {"kind": kind, "apiVersion": version, "metadata": manifest["metadata"]}


def _version(manifest: Manifest) -> Manifest:
    return {"resourceVersion": manifest["metadata"].get("resourceVersion", "")}


def _go_type(kind: ServedKind, suffix: str = "") -> str:
    if kind.custom:
        return f"*unstructured.Unstructured{suffix}"
    return f"*{kind.resource.group.partition('.')[0] or 'core'}.{kind.resource.kind}{suffix}"


def negotiate(
    accept: str, include: str, now: Callable[[], datetime], *, custom: bool = False, listing: bool = False
) -> Representation:
    """The first form in `accept` that we can give. Raises NotAcceptable when there is none."""
    if not accept or accept == "application/json" or accept == "*/*":
        return Representation("", include, now)
    known = False
    for choice in accept.split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        known = known or media_type in _READABLE or media_type in MEDIA_TYPES
        if media_type not in _READABLE:
            continue
        options = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        as_, version = options.get("as", ""), options.get("v", "")
        if not as_:
            return Representation("", include, now)
        if options.get("g") != "meta.k8s.io" or version not in _VERSIONS:
            continue
        if as_ in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Representation(as_, include, now, version)
    if known or custom:
        raise NotAcceptable(f"only the following media types are accepted: {', '.join(MEDIA_TYPES)}")
    available = ", ".join((*MEDIA_TYPES, *_STREAMS) if listing else MEDIA_TYPES)
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {available}", details=StatusDetails())


def prefers_yaml(accept: str) -> bool:
    """Whether of what we can give, YAML comes first."""
    types = (choice.partition(";")[0].strip() for choice in accept.split(","))
    return next((type_ for type_ in types if type_ in _READABLE), "") == "application/yaml"


def as_yaml(body: bytes) -> bytes:
    import yaml

    return yaml.safe_dump(decode_json(body), default_flow_style=False, allow_unicode=True).encode()

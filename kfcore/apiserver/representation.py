"""The form in which a client wants objects: as they are, metadata only, or rows of a table (`Accept: …;as=Table`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver import table
from kfcore.apiserver.kinds import ServedKind
from kfcore.client.errors import NotAcceptable

META = "meta.k8s.io/v1"
_READABLE = frozenset({"application/json", "application/*", "*/*", "application/yaml"})


class Representation(msgspec.Struct, frozen=True):
    """`as_` is empty (as they are), `PartialObjectMetadata` or `Table`; `include` is what table rows carry along."""

    as_: str
    include: str
    now: Callable[[], datetime]

    @property
    def plain(self) -> bool:
        return not self.as_

    def one(self, kind: ServedKind, manifest: Manifest) -> bytes:
        if self.as_ == "Table":
            return encode_json(self._table(kind, [manifest], _version(manifest)))
        return encode_json(partial(manifest))

    def many(self, kind: ServedKind, manifests: Sequence[Manifest], metadata: Manifest) -> bytes:
        if self.as_ == "Table":
            return encode_json(self._table(kind, manifests, metadata))
        items = [partial(manifest) for manifest in manifests]
        return encode_json(
            {"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": metadata, "items": items}
        )

    def events(self, kind: ServedKind) -> Callable[[str, Manifest], bytes]:
        """The function that makes a watch event's object (of the type given); one for each watch, since a table's
        columns are told once.
        """
        if self.as_ != "Table":
            return lambda _, manifest: encode_json(partial(manifest))
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
        return table.build(kind, manifests, metadata, include=self.include, now=self.now())


def _version(manifest: Manifest) -> Manifest:
    return {"resourceVersion": manifest["metadata"].get("resourceVersion", "")}


def partial(manifest: Manifest) -> Manifest:
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": manifest["metadata"]}


def negotiate(accept: str, include: str, now: Callable[[], datetime]) -> Representation:
    """The first form in `accept` that we can give. Raises NotAcceptable when there is none."""
    if not accept or accept == "application/json" or accept == "*/*":
        return Representation("", include, now)
    for choice in accept.split(","):
        media_type, *parameters = (part.strip() for part in choice.split(";"))
        if media_type not in _READABLE:
            continue
        options = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        as_ = options.get("as", "")
        if not as_:
            return Representation("", include, now)
        if options.get("g") != "meta.k8s.io" or options.get("v") != "v1":
            continue
        if as_ == "PartialObjectMetadataList":
            as_ = "PartialObjectMetadata"
        if as_ in ("Table", "PartialObjectMetadata"):
            return Representation(as_, include, now)
    raise NotAcceptable("only the following media types are accepted: application/json, application/json;stream=watch")

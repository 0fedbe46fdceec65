"""A wanted child against the one that is there → the write that is needed, which as a rule is none.

The API server fills in defaults and writes values in its own way, so what is there is never equal to what was asked
for. Asked again is only when the wish itself has changed (its hash is an annotation of the child) or when one of its
fields is not there: whatever the server or anybody else added beside them stays.
"""

from __future__ import annotations

import hashlib
from typing import Any

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest, Unstructured, controller_of
from kfcore.api.quantity import parse_quantity
from kfcore.client.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound
from kfcore.client.interface import Client, PatchType, Reader
from kfcore_notebook.api import STOPPED, Notebook
from kfcore_notebook.children import Service, StatefulSet

HASH = "kfcore.notebook/applied-hash"


class NameTaken(Exception):
    """An object of the child's name is there and belongs to somebody else."""


class Refused(Exception):
    """The API server did not take a child, or (`exists`) a change of one; why is the message, `error` what it said."""

    def __init__(self, kind: type[Unstructured], name: str, error: ApiError, *, exists: bool) -> None:
        super().__init__(f"{kind.resource.kind} {name}: {error}")
        self.kind = kind
        self.error = error
        self.exists = exists


class Applier:
    """Writes children. It remembers what the server made of a wish, so that a value which the server spells in a way
    of its own is written once and not for ever.
    """

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client = client
        self._reader = reader
        self._settled: dict[str, tuple[str, str]] = {}

    def forget(self, uid: str) -> None:
        self._settled.pop(uid, None)

    async def apply(self, kind: type[Unstructured], wanted: Manifest, notebook: Notebook) -> tuple[Unstructured, bool]:
        """The child as it is now, and whether it was made just now. Raises `NameTaken` and `Refused`.

        An orphan, which nobody controls and which selects this notebook's pods, becomes the notebook's again: it was
        left by one of the name.
        """
        name, namespace = wanted["metadata"]["name"], notebook.namespace
        wish = _hash(_comparable(kind, wanted))
        body = {**wanted, "metadata": {**wanted["metadata"], "annotations": {HASH: wish}}}
        try:
            live = await self._reader.get(kind, name, namespace)
        except NotFound:
            try:
                return await self._client.create(kind, body, namespace), True
            except AlreadyExists:  # the cache is behind
                live = await self._client.get(kind, name, namespace)
            except ApiError as error:
                raise Refused(kind, name, error, exists=False) from error
        owner = controller_of(live)
        adopted = owner is None and _selects_the_same(live, wanted)
        if not adopted and (owner is None or owner.uid != notebook.metadata.uid):
            raise NameTaken(f"{kind.resource.kind} {name} is there already and does not belong to this notebook")
        if live.metadata.deletion_timestamp is not None:
            return live, False
        as_wished = self._is_as_wished(kind, live, wanted, wish)
        changes = [] if as_wished else _corrections(kind, live.raw, wanted, wish)
        if kind is StatefulSet and live.raw["spec"].get("replicas") != wanted["spec"]["replicas"]:
            changes.append({"op": "add", "path": "/spec/replicas", "value": wanted["spec"]["replicas"]})
        if adopted:
            owners = [*(live.raw["metadata"].get("ownerReferences") or []), *wanted["metadata"]["ownerReferences"]]
            changes.append({"op": "add", "path": "/metadata/ownerReferences", "value": owners})
        if not changes:
            return live, False
        same = {"op": "test", "path": "/metadata/uid", "value": live.metadata.uid}
        try:
            written = await self._client.patch(kind, name, namespace, [same, *changes], patch_type=PatchType.JSON)
        except (Invalid, Forbidden) as error:
            raise Refused(kind, name, error, exists=True) from error
        if not as_wished:
            self._settled[live.metadata.uid] = (wish, _hash(_comparable(kind, written.raw)))
        return written, False

    def _is_as_wished(self, kind: type[Unstructured], live: Unstructured, wanted: Manifest, wish: str) -> bool:
        if live.metadata.annotations.get(HASH) != wish:
            return False
        if kind is Service and not _selects_the_same(live, wanted):  # what others add to a selector counts
            return False
        there = _comparable(kind, live.raw)
        if contains(there, _comparable(kind, wanted)):
            return True
        return self._settled.get(live.metadata.uid) == (wish, _hash(there))


def contains(there: Any, wanted: Any) -> bool:
    """Whether every field of `wanted` is in `there`; empty is as good as none; lists are as long."""
    if isinstance(wanted, dict):
        if there is None:
            there = {}
        return isinstance(there, dict) and all(contains(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        there = [] if there is None else there
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(contains(a, b) for a, b in zip(there, wanted, strict=True))
        )
    return there == wanted or (there is None and not wanted) or _same_quantity(there, wanted)


def _selects_the_same(live: Unstructured, wanted: Manifest) -> bool:
    there: Any = (live.raw.get("spec") or {}).get("selector")
    return bool(there == wanted["spec"].get("selector"))


def _same_quantity(there: Any, wanted: Any) -> bool:
    try:
        return isinstance(there, str) and bool(parse_quantity(there) == parse_quantity(wanted))
    except ValueError:
        return False


def _comparable(kind: type[Unstructured], manifest: Manifest) -> Manifest:
    """The fields that are corrected. The number of replicas is looked at by itself: a stop is no other template."""
    spec: Manifest = manifest.get("spec") or {}
    if kind is not StatefulSet:
        return spec
    template = spec.get("template") or {}
    metadata = template.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != STOPPED}
    return {"labels": metadata.get("labels") or {}, "annotations": annotations, "spec": template.get("spec") or {}}


def _corrections(kind: type[Unstructured], live: Manifest, wanted: Manifest, wish: str) -> list[Manifest]:
    annotations = {**(live["metadata"].get("annotations") or {}), HASH: wish}
    noted = {"op": "add", "path": "/metadata/annotations", "value": annotations}
    spec = wanted["spec"]
    if kind is not StatefulSet:
        kept = {} if kind.resource.group else live["spec"]  # a Service keeps its cluster IP
        return [noted, {"op": "add", "path": "/spec", "value": {**kept, **spec}}]
    # The mark of a stop is copied when the StatefulSet is made, as upstream does it, and left alone from then on: it
    # says nothing to the pod, and a template that changes is a pod that restarts.
    metadata = spec["template"]["metadata"]
    pod_annotations = {key: value for key, value in metadata["annotations"].items() if key != STOPPED}
    before = (live["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    if STOPPED in before:
        pod_annotations[STOPPED] = before[STOPPED]
    template = {**spec["template"], "metadata": {**metadata, "annotations": pod_annotations}}
    return [noted, {"op": "add", "path": "/spec/template", "value": template}]


def _hash(value: Manifest) -> str:
    return hashlib.sha256(encode_json(_sorted(value))).hexdigest()[:16]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value

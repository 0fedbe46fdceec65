"""Get, list and watch: from storage to response bodies, through selectors, paging and the form that `Accept` names."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.conversion import served, served_bytes
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.names import label_value, qualified_name
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.options import flag
from kfcore.apiserver.representation import Representation
from kfcore.apiserver.request import Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import JSON, FieldError, bad_request, expired, forbidden_field, invalid, unsupported
from kfcore.apiserver.storage import Stored, TooOld
from kfcore.apiserver.strategy import value_at
from kfcore.apiserver.watch import Renders, Selects, WatchStream
from kfcore.client.errors import Cause, Gone, ServerTimeout, Status, StatusDetails
from kfcore.client.selectors import FieldSelector, LabelSelector, SelectorError, UnfitLabel

_LIST_OPTIONS = Resource("meta.k8s.io", "v1", "ListOptions", "listoptions")
_TOKEN = "kfcore/v1"
_ANY_VERSION = -1
"""In a continue token: whatever the version is by then."""
_ABSENT = {
    "spec.hostNetwork": "false", "spec.unschedulable": "false", "status.replicas": "0", "status.successful": "0",
}  # fmt: skip
"""What selectable fields of built-in kinds are where an object does not say."""
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


def everything(stored: Stored) -> bool:
    return True


def selection(kind: ServedKind, fields: Mapping[str, str], query: Mapping[str, str]) -> Selects:
    """The test that a request's label and field selectors make. Raises BadRequest for what is not a selector.

    `fields` are the kind's selectable fields besides the metadata's.
    """
    try:
        labels = LabelSelector.parse(query.get("labelSelector", ""))
        terms = FieldSelector.parse(query.get("fieldSelector", ""))
    except SelectorError as error:
        raise bad_request(_in_words(error)) from error
    for path in terms.paths:
        if path == "metadata.namespace" and fields and not kind.resource.namespaced and not kind.custom:
            raise bad_request(f"field label not supported: {path}")
        if path not in ("metadata.name", "metadata.namespace") and path not in fields:
            if kind.resource.kind == "Job" and not kind.custom:
                raise bad_request(f"field label {json.dumps(path)} not supported for Job")
            if fields or kind.custom:
                raise bad_request(f"field label not supported: {path}")
            raise bad_request(f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    if not labels and not terms:
        return everything
    absent = {} if kind.custom else _ABSENT

    def selects(stored: Stored) -> bool:
        if not labels.matches(stored.labels):
            return False
        if not terms:
            return True
        manifest = stored.manifest
        return terms.matches(lambda path: value_at(manifest, fields.get(path, path)) or absent.get(path, ""))

    return selects


def _in_words(error: SelectorError) -> str:
    """Of a label that there cannot be, why."""
    if not isinstance(error, UnfitLabel):
        return str(error)
    why = "; ".join(qualified_name(error.text) if error.is_key else label_value(error.text))
    return f"unable to parse requirement: {error.place}: Invalid value: {json.dumps(error.text)}: {why}"


def within(route: Route, selects: Selects) -> Selects:
    """`selects`, of the objects in the route's namespace (and of its name) only."""
    namespace, name = route.namespace, route.name
    if not namespace and not name:
        return selects

    def selects_here(stored: Stored) -> bool:
        key = stored.key
        return (not namespace or key[0] == namespace) and (not name or key[1] == name) and selects(stored)

    return selects_here


class Reading:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._storage = objects.storage
        self.watches: set[WatchStream] = set()
        self.settle: Callable[[], Awaitable[None]] | None = None

    def selection(self, kind: ServedKind, query: Mapping[str, str]) -> Selects:
        return selection(kind, self._objects.strategy(kind).fields, query)

    def get(self, route: Route, query: Mapping[str, str], view: Representation) -> Response:
        if version := query.get("resourceVersion"):
            self._check_reached(parse_version(version))
        stored = self._objects.read(route.kind, route.namespace, route.name)
        if view.plain:
            return Response(200, dict(JSON), served_bytes(route.kind, stored))
        return Response(200, dict(JSON), view.one(route.kind, served(route.kind, stored)))

    # ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def listing(self, route: Route, query: Mapping[str, str], view: Representation) -> Response:
        kind = route.kind
        selects = self.selection(kind, query)
        limit = _whole_number(query, "limit")
        _whole_number(query, "timeoutSeconds")
        collection = self._objects.collection(kind)
        version, start = self._storage.version, ""
        exact = self._exact_version(query, limit)
        if query.get("resourceVersion") == "0" and not query.get("continue"):
            limit = 0  # what is read from a cache comes whole
        if token := query.get("continue"):
            if query.get("resourceVersion", "") not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
            told, start = _read_token(token)
            version = version if told == _ANY_VERSION else told
            candidates = self._as_of(kind, version, route.namespace, start)
        elif exact:
            version = exact
            candidates = self._as_of(kind, version, route.namespace, "")
        else:
            candidates = list(collection.select(route.namespace))
        matching = (stored for stored in candidates if selects(stored))
        if start:
            matching = (stored for stored in matching if "/".join(stored.key) > start)
        if not limit:
            found, more = list(matching), False
        else:
            found = list(islice(matching, limit + 1))
            more, found = len(found) > limit, found[:limit]
        metadata: Manifest = {"resourceVersion": str(version)}
        if more:
            metadata["continue"] = _token(version, "/".join(found[-1].key))
            if selects is everything:
                metadata["remainingItemCount"] = self._remaining(candidates, start, len(found))
        if not view.plain:
            manifests = [served(kind, stored) for stored in found]
            return Response(200, dict(JSON), view.many(kind, manifests, metadata))
        return Response(200, dict(JSON), list_body(kind, found, metadata))

    @staticmethod
    def _remaining(candidates: list[Stored], start: str, shown: int) -> int:
        return sum("/".join(stored.key) > start for stored in candidates) - shown

    def _as_of(self, kind: ServedKind, version: int, namespace: str, start: str) -> list[Stored]:
        try:
            return self._objects.collection(kind).as_of(version, namespace)
        except TooOld as error:
            if not start:
                raise expired("The resourceVersion for the provided list is too old.") from error
            raise Gone(status=_expired_page(start)) from error

    def _exact_version(self, query: Mapping[str, str], limit: int) -> int:
        """The version that a list shows, 0 for the newest. A page is of the version that is asked for."""
        match, text = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
        if errors := list(_match_problems(match, text, query)):
            raise invalid(_LIST_OPTIONS, "", errors)
        version = parse_version(text)
        self._check_reached(version)
        return version if match == "Exact" or (limit and not match and not query.get("continue")) else 0

    def _check_reached(self, version: int) -> None:
        if version > self._storage.version:
            raise ServerTimeout(
                f"Timeout: Too large resource version: {version}, current: {self._storage.version}",
                details=StatusDetails(
                    causes=[Cause("ResourceVersionTooLarge", "Too large resource version")], retry_after_seconds=1
                ),
            )

    # ── watch ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def watch(self, route: Route, query: Mapping[str, str], view: Representation) -> Response:
        kind = route.kind
        namespace = route.namespace
        selects = within(route, self.selection(kind, query))
        if errors := list(_watch_problems(query)):
            raise invalid(_LIST_OPTIONS, "", errors)
        version = parse_version(query.get("resourceVersion", ""))
        streams_list = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else not version
        bookmarks = flag(query, "allowWatchBookmarks")
        if streams_list:
            self._check_reached(version)
        timeout = _whole_number(query, "timeoutSeconds")
        collection = self._objects.collection(kind)
        render = _renderer(kind, view)
        initial: list[bytes] = []
        missed = []
        if version and not streams_list:
            try:
                missed = collection.since(version)
            except TooOld:
                status = {
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": f"too old resource version: {version} ({collection.oldest})",
                    "reason": "Expired", "code": 410,
                }  # fmt: skip
                return Response(200, dict(JSON), encode_json({"type": "ERROR", "object": status}) + b"\n")
        elif streams_list:
            initial = [render("ADDED", stored) for stored in collection.select(namespace) if selects(stored)]
        if streams_list and bookmarks:
            initial.append(self._bookmark(kind, render, _INITIAL_EVENTS_END))
        stream = WatchStream(
            collection,
            selects,
            render,
            initial=initial,
            missed=missed,
            on_close=self.watches.discard,
            settle=self.settle,
        )
        self.watches.add(stream)
        if timeout:
            stream.end_after(self._objects.clock, timeout)
        if bookmarks:
            stream.bookmark_every(self._objects.clock, lambda: self._bookmark(kind, render))
        return Response(200, dict(JSON), stream)

    def _bookmark(self, kind: ServedKind, render: Renders, annotations: Manifest | None = None) -> bytes:
        metadata: Manifest = {"resourceVersion": str(self._storage.version)}
        if annotations:
            metadata["annotations"] = annotations
        resource = kind.resource
        manifest = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return render("BOOKMARK", Stored(manifest, encode_json(manifest), self._storage.version))


def list_body(kind: ServedKind, found: list[Stored], metadata: Manifest) -> bytes:
    """A list response, joined from the objects' own JSON. Items of built-in kinds do not repeat their kind."""
    resource = kind.resource
    items = [served_bytes(kind, stored) for stored in found]
    if kind.custom:
        head = {"apiVersion": resource.api_version, "kind": resource.list_kind}
        metadata = {"continue": "", **metadata}
    else:
        head = {"kind": resource.list_kind, "apiVersion": resource.api_version}
        prefix = encode_json({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","
        length = len(prefix)
        items = [b"{" + item[length:] if item.startswith(prefix) else item for item in items]
    return encode_json({**head, "metadata": metadata})[:-1] + b',"items":[' + b",".join(items) + b"]}"


def _renderer(kind: ServedKind, view: Representation) -> Renders:
    if view.plain:
        return lambda type_, stored: b'{"type":"%b","object":%b}\n' % (type_.encode(), served_bytes(kind, stored))
    show = view.events(kind)
    return lambda type_, stored: b'{"type":"%b","object":%b}\n' % (type_.encode(), show(type_, served(kind, stored)))


def _match_problems(match: str, version: str, query: Mapping[str, str]) -> Iterator[FieldError]:
    place = "resourceVersionMatch"
    if "sendInitialEvents" in query:
        yield forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not match:
        return
    if not version:
        yield forbidden_field(place, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if query.get("continue"):
        yield forbidden_field(place, "resourceVersionMatch is forbidden when continue is provided")
    if match not in ("Exact", "NotOlderThan"):
        yield unsupported(place, match, ("Exact", "NotOlderThan", ""))
    elif match == "Exact" and version == "0":
        yield forbidden_field(place, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def _watch_problems(query: Mapping[str, str]) -> Iterator[FieldError]:
    place, match = "resourceVersionMatch", query.get("resourceVersionMatch", "")
    if "sendInitialEvents" in query:
        if match != "NotOlderThan":
            yield forbidden_field(place, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif match:
        yield forbidden_field(place, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match and match != "NotOlderThan":
        yield unsupported(place, match, ("NotOlderThan",))
    if match and query.get("continue"):
        yield forbidden_field(place, "resourceVersionMatch is forbidden when continue is provided")


def _expired_page(start: str) -> Status:
    """Where a list cannot go on as it began, its client may take the rest as it is now: with the token in this."""
    return Status(
        message="The provided continue parameter is too old to display a consistent list result. You can start a new "
        "list without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        reason=Gone.reason,
        code=Gone.code,
        metadata={"continue": _token(_ANY_VERSION, start)},
    )


def parse_version(text: str) -> int:
    """A resourceVersion parameter; empty and "0" are 0."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _whole_number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    if not text:
        return 0
    if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 18:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(int(text), 0)


def _token(version: int, start: str) -> str:
    return base64.urlsafe_b64encode(encode_json({"v": _TOKEN, "rv": version, "start": start})).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        body = decode_json(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if body["v"] != _TOKEN or not isinstance(body["rv"], int) or not isinstance(body["start"], str):
            raise ValueError("unknown version")
        return body["rv"], body["start"]
    except (binascii.Error, msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise bad_request("invalid continue token: continue key is not valid") from error

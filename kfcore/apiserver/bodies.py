"""From the bytes of a request to the object in them, or to the refusal of what is none: JSON or YAML, of its kind."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.apiserver.go_json import syntax_error
from kfcore.apiserver.request import Request
from kfcore.apiserver.status import Undecodable, bad_request, invalid, invalid_value
from kfcore.client.errors import RequestEntityTooLarge

BODY_LIMIT = 3 * 1024 * 1024
ALIASED_LIMIT = 400_000
"""Values that a YAML document may have in all, where aliases repeat most of them."""
_SHOWN = 30
_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def check_size(body: bytes) -> None:
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT}")


def json_type(value: Any) -> str:
    """What Go calls a JSON value that is not of the type it should be."""
    return {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(value), "number")


def read_json(body: bytes, kind: str) -> Any:
    """A JSON body. Raises BadRequest in the server's words; `kind` is what was expected."""
    check_size(body)
    try:
        return decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"couldn't get version/kind; json parse error: {syntax_error(body) or error}"
        raise _unrecognized(kind, why, body) from error


def read_yaml(body: bytes, kind: str) -> Any:
    """A YAML body. Raises BadRequest."""
    try:
        return parse_yaml(body)
    except ValueError as error:
        raise _unrecognized(kind, str(error), body) from error


def parse_yaml(body: bytes) -> Any:
    """Raises ValueError for what is not YAML, or has values that JSON has not."""
    check_size(body)
    try:
        return decode_json(body) if body.lstrip()[:1] == b"{" else _load_yaml(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"error converting YAML to JSON: yaml: {error}") from error


def _load_yaml(body: bytes) -> Any:
    import yaml  # only applies and YAML bodies need it

    loader = yaml.SafeLoader(body)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        sizes: dict[int, int] = {}
        if _expanded(node, sizes) > max(ALIASED_LIMIT, 2 * len(sizes)):
            raise ValueError("document contains excessive aliasing")
        return decode_json(encode_json(loader.construct_document(node)))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """How many values a YAML node has when each alias is written out. `sizes` are those of the nodes seen, by id."""
    if (known := sizes.get(id(node))) is not None:
        return known
    total = 1
    if not isinstance(node.value, str):
        for child in node.value:
            total += sum(_expanded(part, sizes) for part in (child if isinstance(child, tuple) else (child,)))
    sizes[id(node)] = total
    return total


def _unrecognized(kind: str, why: str, body: bytes) -> Exception:
    shown = body[:_SHOWN].decode(errors="ignore") if body[:1] == b"{" else body[:_SHOWN].hex()
    more = " ..." if len(body) > _SHOWN else ""
    return bad_request(
        f"the object provided is unrecognized (must be of type {kind}): {why} ({shown or '<empty>'}{more})"
    )


def check_kind(resource: Resource, body: Any, *, custom: bool) -> Manifest:
    """`body` as an object of `resource`. Raises BadRequest when it is something else, and Invalid for a custom kind."""
    if body is None and not custom:
        return {}  # which is what a decoder makes of it that knows the type
    if not isinstance(body, dict):
        if body is None:
            raise missing_kind(body)
        why = (
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_type(body)} into Go value of "
            f"type {_TYPE_META}"
        )
        raise _unrecognized(resource.kind, why, encode_json(body))
    kind, api_version = body.get("kind"), body.get("apiVersion")
    for field, value in (("apiVersion", api_version), ("kind", kind)):
        if value is not None and not isinstance(value, str):
            why = (
                f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_type(value)} into Go struct"
            )
            raise _unrecognized(resource.kind, f"{why} field .{field} of type string", encode_json(body))
    if custom and not kind:
        raise missing_kind(body)
    if custom and not api_version:
        raise bad_request(f"Object 'apiVersion' is missing in '{_beginning(body)}'")
    kind, api_version = kind or resource.kind, api_version or resource.api_version
    if kind == resource.kind and api_version == resource.api_version:
        return body
    version = api_version.rpartition("/")[2]
    if not custom and (api_version, kind) not in _registered():
        raise Undecodable(resource, f'no kind "{kind}" is registered for version "{api_version}" in scheme '
                          '"pkg/api/legacyscheme/scheme.go:30"', kind, version)  # fmt: skip
    if kind != resource.kind and not custom:
        group = resource.group.partition(".")[0] or "core"
        why = f"converting ({version}.{kind}) to ({group}.{resource.kind}): unknown conversion"
        raise Undecodable(resource, why, kind, version)
    if api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else ""
    named = Resource(resource.group, resource.version, kind, resource.plural)
    raise invalid(named, str(name or ""), [invalid_value("kind", kind, f"must be {resource.kind}")])


@cache
def _registered() -> frozenset[tuple[str, str]]:
    """The kinds that are built in, and the lists of them, by their apiVersion."""
    known = {("v1", "List"), ("v1", "Status"), ("v1", "Binding")}
    for kind in builtin_kinds():
        resource = kind.resource
        known |= {(resource.api_version, resource.kind), (resource.api_version, f"{resource.kind}List")}
        known |= {(f"{sub.group}/{sub.version}".lstrip("/"), sub.kind) for sub in kind.subresources}
    return frozenset(known)


def missing_kind(body: Any) -> Exception:
    return bad_request(f"Object 'Kind' is missing in '{_beginning(body)}'")


def _beginning(body: Any) -> str:
    """The first 200 bytes of a body, for a message; a character that they cut in two is left out."""
    return encode_json(body)[:200].decode(errors="ignore")

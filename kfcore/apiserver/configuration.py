"""ConfigMaps and Secrets: defaults, and the rules that users meet."""

from __future__ import annotations

import base64

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.names import config_key
from kfcore.apiserver.status import FieldError, bad_request, forbidden_field, invalid_value, required
from kfcore.apiserver.workloads import part

_LIMIT = 1024 * 1024
_TYPE_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}

_JSON_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def validate_config_map(config: Manifest, previous: Manifest | None) -> list[FieldError]:
    data, binary = config.get("data") or {}, config.get("binaryData") or {}
    errors = [*_key_problems(data, "data"), *_key_problems(binary, "binaryData")]
    errors += [
        invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary
    ]
    size = sum(len(text.encode()) for text in data.values()) + sum(map(_decoded_size, binary.values()))
    if size > _LIMIT:
        errors.append(_too_long(""))
    return errors + _validate_immutable(config, previous)


def validate_secret(secret: Manifest, previous: Manifest | None) -> list[FieldError]:
    data = secret.get("data") or {}
    errors = _key_problems(data, "data")
    if sum(map(_decoded_size, data.values())) > _LIMIT:
        errors.append(_too_long("data"))
    kind = secret["type"]
    errors += [required(f"data[{key}]") for key in _TYPE_KEYS.get(kind, ()) if key not in data]
    for key in _JSON_KEYS.get(kind, ()):
        if key in data and (why := _not_json(data[key])):
            redacted = '"<secret contents redacted>"'
            errors.append(FieldError("FieldValueInvalid", f"data[{key}]", f"Invalid value: {redacted}: {why}"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors += [required("data[username]"), required("data[password]")]
    name = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not secret["metadata"].get("annotations", {}).get(name):
        errors.append(required(f"metadata.annotations[{name}]"))
    if previous is not None and previous["type"] != kind:
        errors.append(invalid_value("type", kind, "field is immutable"))
    return errors + _validate_immutable(secret, previous)


def _not_json(text: str) -> str:
    """Why a secret's content is not JSON; empty when it is."""
    try:
        decode_json(base64.b64decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return ""


def _key_problems(data: Manifest, field: str) -> list[FieldError]:
    return [invalid_value(f"{field}[{key}]", key, why) for key in data for why in config_key(key)]


def _decoded_size(text: str) -> int:
    """How many bytes base64 text stands for."""
    return len(text) * 3 // 4 - text.count("=", -2)


def _too_long(field: str) -> FieldError:
    return FieldError("FieldValueTooLong", field or "<nil>", f"Too long: may not be more than {_LIMIT} bytes")


def _validate_immutable(manifest: Manifest, previous: Manifest | None) -> list[FieldError]:
    if previous is None or not previous.get("immutable"):
        return []
    why = "field is immutable when `immutable` is set"
    changed = [name for name in ("data", "binaryData") if manifest.get(name) != previous.get(name)]
    if not manifest.get("immutable"):
        changed.insert(0, "immutable")
    return [forbidden_field(name, why) for name in changed]


def default_config_map(config: Manifest) -> None:
    for name in ("data", "binaryData"):
        values = part(config, name, "ConfigMap")
        for value in values.values():
            if not isinstance(value, str):
                kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else "object"
                raise bad_request(
                    f'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal {kind} into '
                    f"Go struct field ConfigMap.{name} of type string"
                )
        if not values:
            config.pop(name, None)


def default_secret(secret: Manifest) -> None:
    data = dict(part(secret, "data", "Secret"))
    for key, text in part(secret, "stringData", "Secret").items():
        if not isinstance(text, str):
            raise bad_request("Secret.stringData: expected text")
        data[key] = base64.b64encode(text.encode()).decode()
    for value in data.values():
        try:
            base64.b64decode(value if isinstance(value, str) else "!", validate=True)
        except ValueError as error:
            raise bad_request(
                'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0'
            ) from error
    secret.pop("stringData", None)
    secret.pop("data", None)
    if data:
        secret["data"] = data
    secret.setdefault("type", "Opaque")

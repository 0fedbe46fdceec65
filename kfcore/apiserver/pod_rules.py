"""The rules of pods and pod templates that users meet, and what may change of a pod that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label, dns_subdomain, label_value, qualified_name
from kfcore.apiserver.pod_details import validate_details
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

_RESTART = ("Always", "OnFailure", "Never")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_SOURCES = ("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef")
_CONTAINER_LISTS = ("initContainers", "containers")
_RANGE = "must be between 1 and 65535, inclusive"
_NOT_NEGATIVE = "must be greater than or equal to 0"
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?")
_QUANTITIES = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_SCALE = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def validate_pod(pod: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return [required("spec.containers")]
    errors = validate_pod_spec(spec, "spec")
    if previous is None and spec.get("ephemeralContainers"):
        errors.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if previous is not None and not errors:
        errors = _validate_update(spec, previous["spec"])
    return errors


def validate_pod_spec(spec: Manifest, place: str) -> list[FieldError]:
    errors = _validate_volumes(spec, place)
    if not spec.get("containers"):
        errors.append(required(f"{place}.containers"))
    seen: set[str] = set()
    for list_name in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(list_name) or ()):
            where = f"{place}.{list_name}[{index}]"
            errors += _validate_container(container, where, seen)
            if list_name == "initContainers" and container.get("restartPolicy") != "Always":
                errors += [
                    forbidden_field(
                        f"{where}.{name}", "may not be set for init containers without restartPolicy=Always"
                    )
                    for name in (*_PROBES, "lifecycle")
                    if container.get(name) is not None
                ]
    errors += _validate_policies(spec, place)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        errors += _validate_toleration(toleration, f"{place}.tolerations[{index}]")
    for key, value in (spec.get("nodeSelector") or {}).items():
        errors += [invalid_value(f"{place}.nodeSelector", key, why) for why in qualified_name(key)]
        errors += [invalid_value(f"{place}.nodeSelector", value, why) for why in label_value(value)]
    errors += validate_details(spec, place)
    return errors


def _validate_policies(spec: Manifest, place: str) -> Iterator[FieldError]:
    policy = spec.get("restartPolicy")
    if policy not in _RESTART:
        yield unsupported(f"{place}.restartPolicy", policy, _RESTART)
    if (dns := spec.get("dnsPolicy", "ClusterFirst")) not in _DNS:
        yield unsupported(f"{place}.dnsPolicy", dns, _DNS)
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if isinstance(grace, int) and grace < 0:
        yield invalid_value(f"{place}.terminationGracePeriodSeconds", grace, _NOT_NEGATIVE)
    deadline = spec.get("activeDeadlineSeconds")
    if isinstance(deadline, int) and not 0 < deadline < 2**31:
        yield invalid_value(f"{place}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    for field, check in (("hostname", dns_label), ("subdomain", dns_label), ("serviceAccountName", dns_subdomain)):
        if (name := spec.get(field)) and (why := check(name)):
            yield invalid_value(f"{place}.{field}", name, why)


def _validate_toleration(toleration: Manifest, place: str) -> Iterator[FieldError]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if key:
        yield from (invalid_value(f"{place}.key", key, why) for why in qualified_name(key))
    elif operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{place}.operator", operator, why)
    if operator == "Exists" and toleration.get("value"):
        yield invalid_value(f"{place}.operator", toleration, "value must be empty when `operator` is 'Exists'")
    elif operator not in ("Exists", "Equal"):
        yield unsupported(f"{place}.operator", operator, ("Equal", "Exists"))
    effect = toleration.get("effect") or ""
    if effect and effect not in _EFFECTS:
        yield unsupported(f"{place}.effect", effect, _EFFECTS)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid_value(f"{place}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")


# ── containers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_container(container: Manifest, place: str, seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        errors.append(required(f"{place}.name"))
    elif why := dns_label(name):
        errors.append(invalid_value(f"{place}.name", name, why))
    if not image:
        errors.append(required(f"{place}.image"))
    elif image != image.strip():
        errors.append(invalid_value(f"{place}.image", image, "must not have leading or trailing whitespace"))
    if name and name in seen:
        errors.append(duplicate(f"{place}.name", name))
    seen.add(name)
    if container.get("imagePullPolicy", "Always") not in _PULL:
        errors.append(unsupported(f"{place}.imagePullPolicy", container["imagePullPolicy"], _PULL))
    errors += _validate_ports(container.get("ports") or (), f"{place}.ports")
    for index, variable in enumerate(container.get("env") or ()):
        errors += _validate_variable(variable, f"{place}.env[{index}]")
    for index, source in enumerate(container.get("envFrom") or ()):
        found = [field for field in ("configMapRef", "secretRef") if source.get(field) is not None]
        if len(found) != 1:
            errors.append(
                invalid_value(f"{place}.envFrom[{index}]", "", "must specify one of: `configMapRef` or `secretRef`")
                if not found
                else invalid_value(
                    f"{place}.envFrom[{index}]", "", "may not have more than one field specified at a time"
                )
            )
        elif not source[found[0]].get("name"):
            errors.append(required(f"{place}.envFrom[{index}].{found[0]}.name"))
    for field in _PROBES:
        if (probe := container.get(field)) is not None:
            errors += _validate_probe(probe, f"{place}.{field}", field)
    errors += validate_resources(container.get("resources") or {}, f"{place}.resources")
    return errors


def _validate_ports(ports: Sequence[Manifest], place: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{place}[{index}]"
        if name := port.get("name"):
            yield from (invalid_value(f"{where}.name", name, why) for why in port_name(name))
            if name in names:
                yield duplicate(f"{where}.name", name)
            names.add(name)
        number = port.get("containerPort")
        if not number:
            yield required(f"{where}.containerPort")
        elif not isinstance(number, int) or not 0 < number < 65536:
            yield invalid_value(f"{where}.containerPort", number, _RANGE)
        if (host := port.get("hostPort") or 0) and not 0 < host < 65536:
            yield invalid_value(f"{where}.hostPort", host, _RANGE)
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            yield unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS)


def port_name(name: str) -> Iterator[str]:
    """Why `name` is not an IANA service name."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]*", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name.startswith("-") or name.endswith("-"):
        yield "must not begin or end with a hyphen"


def _validate_variable(variable: Manifest, place: str) -> Iterator[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield required(f"{place}.name")
    elif not re.fullmatch(r"[ -<>-~]+", name):
        yield invalid_value(
            f"{place}.name", name, "a valid environment variable name must consist only of printable ASCII characters "
            "other than '='"
        )  # fmt: skip
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        yield invalid_value(f"{place}.valueFrom", "", "may not be specified when `value` is not empty")
        return
    found = [field for field in _SOURCES if source.get(field) is not None]
    if not found:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield invalid_value(f"{place}.valueFrom", "", f"must specify one of: {listed}")
    elif len(found) > 1:
        yield invalid_value(f"{place}.valueFrom", "", "may not have more than one field specified at a time")
    elif found[0] in ("configMapKeyRef", "secretKeyRef"):
        yield from (
            required(f"{place}.valueFrom.{found[0]}.{field}")
            for field in ("name", "key")
            if not source[found[0]].get(field)
        )
    elif found[0] == "fieldRef" and not source["fieldRef"].get("fieldPath"):
        yield required(f"{place}.valueFrom.fieldRef.fieldPath")


def _validate_probe(probe: Manifest, place: str, name: str) -> Iterator[FieldError]:
    handlers = [handler for handler in _HANDLERS if probe.get(handler) is not None]
    if not handlers:
        yield required(place, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden_field(f"{place}.{extra}", "may not specify more than 1 handler type")
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if isinstance(value := probe.get(field), int) and value < 0:
            yield invalid_value(f"{place}.{field}", value, _NOT_NEGATIVE)
    if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield invalid_value(f"{place}.successThreshold", probe["successThreshold"], "must be 1")


def validate_resources(resources: Manifest, place: str) -> Iterator[FieldError]:
    """Requests are quantities, of resources that there are, and no more than their limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, quantities in (("limits", limits), ("requests", requests)):
        for resource, quantity in quantities.items():
            amount = _amount(str(quantity))
            if amount is None:
                raise bad_request(f"quantities must match the regular expression '{_QUANTITIES}'")
            if amount < 0:
                yield invalid_value(f"{place}.{group}[{resource}]", quantity, _NOT_NEGATIVE)
            if "/" not in resource and not _native(resource):
                yield invalid_value(
                    f"{place}.{group}[{resource}]", resource, "must be a standard resource type or fully qualified"
                )
                yield invalid_value(
                    f"{place}.{group}[{resource}]", resource, "must be a standard resource for containers"
                )
    for resource, quantity in requests.items():
        limit, amount = _amount(str(limits.get(resource, ""))), _amount(str(quantity))
        if limit is not None and amount is not None and amount > limit:
            yield invalid_value(
                f"{place}.requests", quantity, f"must be less than or equal to {resource} limit of {limits[resource]}"
            )


def _native(resource: str) -> bool:
    return resource in ("cpu", "memory", "ephemeral-storage") or resource.startswith("hugepages-")


def _amount(text: str) -> Decimal | None:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, suffix, exponent = match.groups()
    if suffix and suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    return Decimal(number).scaleb(min(max(int(exponent or 0), -99), 99) + _SCALE[suffix or ""])


# ── volumes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_volumes(spec: Manifest, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"{place}.volumes[{index}]"
        name = volume.get("name") or ""
        sources = [source for source in volume if source != "name"]
        errors += [
            forbidden_field(f"{where}.{source}", "may not specify more than 1 volume type") for source in sources[1:]
        ]
        errors += _validate_source(volume, where)
        if not name:
            errors.append(required(f"{where}.name"))
        elif why := dns_label(str(name)):
            errors.append(invalid_value(f"{where}.name", name, why))
        elif name in names:
            errors.append(duplicate(f"{where}.name", name))
        names.add(str(name))
    for list_name in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(list_name) or ()):
            paths: set[str] = set()
            for mount_index, mount in enumerate(container.get("volumeMounts") or ()):
                where = f"{place}.{list_name}[{index}].volumeMounts[{mount_index}]"
                path = mount.get("mountPath") or ""
                if not mount.get("name"):
                    errors.append(required(f"{where}.name"))
                elif str(mount["name"]) not in names:
                    errors.append(FieldError("FieldValueNotFound", f"{where}.name", f'Not found: "{mount["name"]}"'))
                if not path:
                    errors.append(required(f"{where}.mountPath"))
                elif path in paths:
                    errors.append(invalid_value(f"{where}.mountPath", path, "must be unique"))
                paths.add(path)
    return errors


def _validate_source(volume: Manifest, place: str) -> Iterator[FieldError]:
    for source, field in (
        ("secret", "secretName"), ("configMap", "name"), ("persistentVolumeClaim", "claimName"), ("hostPath", "path"),
    ):  # fmt: skip
        inner = volume.get(source)
        if isinstance(inner, dict) and not inner.get(field):
            yield required(f"{place}.{source}.{field}")


# ── updates ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_update(spec: Manifest, before: Manifest) -> list[FieldError]:
    """Of a pod that exists, hardly anything may change."""
    if spec == before:
        return []
    errors: list[FieldError] = []
    then, now = before.get("activeDeadlineSeconds"), spec.get("activeDeadlineSeconds")
    if then is not None and (now is None or now > then):
        why = "must be less than or equal to previous value" if now is not None else "must not update from a positive "
        errors.append(
            invalid_value("spec.activeDeadlineSeconds", now, why if now is not None else f"{why}integer to nil value")
        )
    known = [gate.get("name") for gate in before.get("schedulingGates") or ()]
    errors += [
        forbidden_field("spec.schedulingGates", f'only deletion is allowed, but found new scheduling gate "{name}"')
        for gate in spec.get("schedulingGates") or ()
        if (name := gate.get("name")) not in known
    ]
    kept = [_lasting(toleration) for toleration in spec.get("tolerations") or ()]
    if any(_lasting(toleration) not in kept for toleration in before.get("tolerations") or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden_field("spec.tolerations", why))
    if _fixed(spec) != _fixed(before):
        errors.append(forbidden_field("spec", _IMMUTABLE))
    return errors


def _lasting(toleration: Manifest) -> Manifest:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _fixed(spec: Manifest) -> Manifest:
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    fixed = {key: value for key, value in spec.items() if key not in free}
    for name in _CONTAINER_LISTS:
        if name in fixed:
            fixed[name] = [{key: value for key, value in item.items() if key != "image"} for item in fixed[name]]
    return fixed

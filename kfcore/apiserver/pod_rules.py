"""The rules of pods and of the templates of pods. What may change of a pod that exists: `pod_updates.py`."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import amounts, of_containers, text
from kfcore.apiserver.container_rules import validate_containers, validate_images
from kfcore.apiserver.label_rules import validate_labels
from kfcore.apiserver.names import dns_label, dns_subdomain, qualified_name
from kfcore.apiserver.paths import address
from kfcore.apiserver.placement_rules import validate_placement, validate_tolerations
from kfcore.apiserver.pod_updates import validate_ephemeral, validate_status, validate_update
from kfcore.apiserver.resource_rules import validate_resources
from kfcore.apiserver.security_rules import validate_pod_security
from kfcore.apiserver.status import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from kfcore.apiserver.volume_rules import validate_volumes

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_SYSTEMS = ("linux", "windows")
_NAMED = (
    ("serviceAccountName", dns_subdomain), ("nodeName", dns_subdomain), ("hostname", dns_label),
    ("subdomain", dns_label), ("priorityClassName", dns_subdomain), ("runtimeClassName", dns_subdomain),
)  # fmt: skip
_NAMESERVERS, _SEARCHES = 3, 32
_WHOLE_POD = ("cpu", "memory")


def validate_pod(pod: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return [required("spec.containers")]
    if previous is not None:
        before = previous["spec"]
        # Most updates are of metadata or status, and what was stored has been looked at.
        errors = [] if spec == before else validate_pod_spec(spec, "spec", is_pod=True)
        return [*errors, *validate_update(spec, before), *validate_status(pod, previous)]
    errors = validate_pod_spec(spec, "spec", is_pod=True)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        errors.append(forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return errors


def validate_template(template: Manifest, place: str, spec: Manifest | None = None) -> list[FieldError]:
    """A template of pods. `spec`, where it is not the template's own: with the volumes that come with the pods."""
    metadata, own = template.get("metadata") or {}, template.get("spec") or {}
    errors = [*validate_labels(metadata.get("labels") or {}, f"{place}.labels")]
    for key in metadata.get("annotations") or {}:
        errors += [invalid_value(f"{place}.annotations", key, why) for why in qualified_name(key.lower())]
    errors += validate_pod_spec(own if spec is None else spec, f"{place}.spec")
    if own.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        errors.append(forbidden_field(f"{place}.spec.ephemeralContainers", why))
    return errors


def validate_pod_spec(spec: Manifest, place: str, *, is_pod: bool = False) -> list[FieldError]:
    return [
        *validate_volumes(spec, f"{place}.volumes"),
        *validate_containers(spec, place),
        *validate_ephemeral(spec, place),
        *_validate_whole(spec, place),
        *_validate_host_network(spec, place, is_pod=is_pod),
        *_validate_policies(spec, place),
        *validate_labels(spec.get("nodeSelector") or {}, f"{place}.nodeSelector"),
        *validate_pod_security(spec, place),
        *validate_placement(spec, place),
        *_validate_dns(spec, f"{place}.dnsConfig"),
        *_validate_gates(spec, place),
        *_validate_names(spec, place),
        *validate_tolerations(spec.get("tolerations"), f"{place}.tolerations"),
        *_validate_aliases(spec, f"{place}.hostAliases"),
        *(validate_images(spec, place) if is_pod else ()),
    ]


def _validate_whole(spec: Manifest, place: str) -> Iterator[FieldError]:
    """What a pod as a whole asks for covers what its containers do."""
    resources, place = spec.get("resources"), f"{place}.resources"
    if not resources:
        return
    if resources.get("claims"):
        yield forbidden_field(f"{place}.claims", "claims cannot be set for Resources at pod-level")
    yield from validate_resources(resources, place)
    asked = amounts(resources.get("requests"))
    for name, needed in of_containers(spec, "requests").items():
        if name in _WHOLE_POD and needed > asked.get(name, 0):
            why = f"must be greater than or equal to aggregate container requests of {text(name, needed)}"
            yield invalid_value(f"{place}.requests[{name}]", text(name, asked[name]) if name in asked else "0", why)


def _validate_host_network(spec: Manifest, place: str, *, is_pod: bool) -> Iterator[FieldError]:
    if not spec.get("hostNetwork"):
        return
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (is_pod or host) and host != port.get("containerPort"):
                where = f"{place}.containers[{index}].ports[{number}].hostPort"
                yield invalid_value(where, host, "must match `containerPort` when `hostNetwork` is true")


def _validate_policies(spec: Manifest, place: str) -> Iterator[FieldError]:
    policy = spec.get("restartPolicy")
    if policy not in _RESTART:
        yield unsupported(f"{place}.restartPolicy", policy, _RESTART)
    if (dns := spec.get("dnsPolicy", "ClusterFirst")) not in _DNS:
        yield unsupported(f"{place}.dnsPolicy", dns, _DNS)
    deadline = spec.get("activeDeadlineSeconds")
    if isinstance(deadline, int) and not 0 < deadline < 2**31:
        yield invalid_value(f"{place}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    if (preemption := spec.get("preemptionPolicy")) is not None and preemption not in _PREEMPTION:
        yield unsupported(f"{place}.preemptionPolicy", preemption, _PREEMPTION)
    if (system := spec.get("os")) is not None:
        if not (name := system.get("name") or ""):
            yield required(f"{place}.os.name", "cannot be empty")
        elif name not in _SYSTEMS:
            yield unsupported(f"{place}.os", name, _SYSTEMS)


def _validate_dns(spec: Manifest, place: str) -> Iterator[FieldError]:
    config = spec.get("dnsConfig")
    if config is None and spec.get("dnsPolicy") != "None":
        return
    if spec.get("dnsPolicy") == "None":
        if config is None:
            yield required(place, "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{place}.nameservers", why)
    servers, searches = ((config or {}).get(field) or [] for field in ("nameservers", "searches"))
    if len(servers) > _NAMESERVERS:
        yield invalid_value(f"{place}.nameservers", servers, f"must not have more than {_NAMESERVERS} nameservers")
    for index, server in enumerate(servers):
        yield from address(server, f"{place}.nameservers[{index}]")
    if len(searches) > _SEARCHES:
        yield invalid_value(f"{place}.searches", searches, f"must not have more than {_SEARCHES} search paths")
    for index, search in enumerate(searches):
        path = search.removesuffix(".").replace("_", "-")
        if search != "." and (why_not := dns_subdomain(path)):
            yield invalid_value(f"{place}.searches[{index}]", search, why_not)
    for index, option in enumerate((config or {}).get("options") or ()):
        if not option.get("name"):
            yield required(f"{place}.options[{index}]", "must not be empty")


def _validate_gates(spec: Manifest, place: str) -> Iterator[FieldError]:
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        condition = gate.get("conditionType") or ""
        for why in qualified_name(condition):
            yield invalid_value(f"{place}.readinessGates[{index}].conditionType", condition, why)
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name, where = gate.get("name") or "", f"{place}.schedulingGates[{index}]"
        yield from (invalid_value(where, name, why) for why in qualified_name(name))
        if name in seen:
            yield duplicate(where, name)
        seen.add(name)


def _validate_names(spec: Manifest, place: str) -> Iterator[FieldError]:
    for field, check in _NAMED:
        if (name := spec.get(field)) and (why := check(name)):
            yield invalid_value(f"{place}.{field}", name, why)


def _validate_aliases(spec: Manifest, place: str) -> Iterator[FieldError]:
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from address(alias.get("ip") or "", f"{place}[{index}].ip")
        for number, name in enumerate(alias.get("hostnames") or ()):
            if why := dns_subdomain(name):
                yield invalid_value(f"{place}[{index}].hostnames[{number}]", name, why)

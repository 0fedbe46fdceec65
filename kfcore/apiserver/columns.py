"""What `kubectl get` shows of each built-in kind: the column names, and one object's cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.duration import UNKNOWN, age, human_duration, parse_time
from kfcore.apiserver.kinds import Column
from kfcore.apiserver.pod_status import summarize

NONE = "<none>"
Cells = Callable[[Manifest, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class BuiltinTable:
    """`cells` gives one object's values, one for each of `columns`."""

    columns: tuple[Column, ...]
    cells: Cells


def columns(narrow: str, wide: str = "") -> tuple[Column, ...]:
    """Columns by comma-separated names; `#` after a name: an integer. `wide` ones are shown with `-o wide` only."""
    named = [(name.strip(), priority) for priority, names in enumerate((narrow, wide)) for name in names.split(",")]
    return tuple(
        Column(
            name.rstrip("#"),
            "integer" if name.endswith("#") else "string",
            "",
            format="name" if name == "Name" else "",
            priority=priority,
        )
        for name, priority in named
        if name
    )


def _spec(obj: Manifest) -> Manifest:
    return obj.get("spec") or {}


def _status(obj: Manifest) -> Manifest:
    return obj.get("status") or {}


def _name(obj: Manifest) -> str:
    return str(obj["metadata"].get("name", ""))


def _age(obj: Manifest, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _joined(values: Iterable[Any], separator: str = ",") -> str:
    return separator.join(map(str, values)) or NONE


def _labels(labels: Manifest | None) -> str:
    return _joined(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def _selector(selector: Manifest | None) -> str:
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for expression in (selector or {}).get("matchExpressions") or []:
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
        match expression.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return _joined(terms)


def _containers(obj: Manifest) -> list[str]:
    template = (_spec(obj).get("template") or {}).get("spec") or {}
    containers = template.get("containers") or []
    return [
        ",".join(str(container.get("name", "")) for container in containers),
        ",".join(str(container.get("image", "")) for container in containers),
    ]


def _pod(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    summary = summarize(obj, now)
    ips = status.get("podIPs") or []
    true = {c.get("type") for c in status.get("conditions") or [] if c.get("status") == "True"}
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or []]
    return [
        _name(obj),
        summary.ready,
        summary.status,
        summary.restarts,
        _age(obj, now),
        (ips[0].get("ip") if ips else "") or status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{sum(gate in true for gate in gates)}/{len(gates)}" if gates else NONE,
    ]


def _service(obj: Manifest, now: datetime) -> list[Any]:
    spec = _spec(obj)
    kind = spec.get("type") or "ClusterIP"
    external: str = _joined(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        external = spec.get("externalName") or NONE
    elif kind == "LoadBalancer":
        ingress = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
        addresses = [entry.get("ip") or entry.get("hostname") for entry in ingress]
        external = ",".join([*filter(None, addresses), *(spec.get("externalIPs") or [])]) or "<pending>"
    ports = (
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port.get('protocol', 'TCP')}"
        for port in spec.get("ports") or []
    )
    return [
        _name(obj),
        kind,
        (spec.get("clusterIPs") or [spec.get("clusterIP") or NONE])[0],
        external,
        _joined(ports),
        _age(obj, now),
        _labels(spec.get("selector")),
    ]


def _event(obj: Manifest, now: datetime) -> list[Any]:
    # Events are stored once and served in two groups, which name their fields differently.
    regarding = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or ""
    return [
        age(last or first, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}",
        regarding.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(obj.get("message") or obj.get("note") or "").strip(),
        age(first, now),
        series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
        _name(obj),
    ]


def _node(obj: Manifest, now: datetime) -> list[Any]:
    metadata, status = obj["metadata"], _status(obj)
    ready = next((c.get("status") for c in status.get("conditions") or [] if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if _spec(obj).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in metadata.get("labels") or {} if key.startswith(prefix))
    info = status.get("nodeInfo") or {}

    def address(kind: str) -> str:
        return next((a.get("address") for a in status.get("addresses") or [] if a.get("type") == kind), NONE)

    return [
        _name(obj),
        ",".join(words),
        _joined(roles),
        _age(obj, now),
        info.get("kubeletVersion", ""),
        address("InternalIP"),
        address("ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _deployment(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(obj, now),
        *_containers(obj),
        _selector(spec.get("selector")),
    ]


def _replica_set(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    selector = spec.get("selector")
    # A ReplicationController's selector is a plain map of labels.
    shown = _labels(selector) if obj.get("kind") == "ReplicationController" else _selector(selector)
    return [
        _name(obj),
        spec.get("replicas", 1),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _age(obj, now),
        *_containers(obj),
        shown,
    ]


def _stateful_set(obj: Manifest, now: datetime) -> list[Any]:
    ready = f"{_status(obj).get('readyReplicas', 0)}/{_spec(obj).get('replicas', 1)}"
    return [_name(obj), ready, _age(obj, now), *_containers(obj)]


def _daemon_set(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    template = (spec.get("template") or {}).get("spec") or {}
    return [
        _name(obj),
        *(status.get(count, 0) for count in counts),
        status.get("numberAvailable", 0),
        _labels(template.get("nodeSelector")),
        _age(obj, now),
        *_containers(obj),
        _selector(spec.get("selector")),
    ]


def _job(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    true = {c.get("type") for c in status.get("conditions") or [] if c.get("status") == "True"}
    word = "Running"
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if condition in true:
            word = shown
            break
    wanted = spec.get("completions")
    if wanted is None:
        parallelism = spec.get("parallelism") or 0
        wanted = f"1 of {parallelism}" if parallelism > 1 else "1"
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    return [
        _name(obj),
        word,
        f"{status.get('succeeded', 0)}/{wanted}",
        human_duration(((end or now) - start).total_seconds()) if start else "",
        _age(obj, now),
        *_containers(obj),
        _selector(spec.get("selector")),
    ]


def _cron_job(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    last = status.get("lastScheduleTime")
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(status.get("active") or []),
        age(last, now) if last else NONE,
        _age(obj, now),
    ]


def _endpoints(obj: Manifest, now: datetime) -> list[Any]:
    pairs = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    more = f" + {len(pairs) - 3} more..." if len(pairs) > 3 else ""
    return [_name(obj), _joined(pairs[:3]) + more, _age(obj, now)]


def _endpoint_slice(obj: Manifest, now: datetime) -> list[Any]:
    ports = [port.get("port", "*") for port in obj.get("ports") or []]
    addresses = [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []]

    def some(values: list[Any], empty: str) -> str:
        more = f" + {len(values) - 3} more..." if len(values) > 3 else ""
        return ",".join(map(str, values[:3])) + more if values else empty

    return [_name(obj), obj.get("addressType", ""), some(ports, "<unset>"), some(addresses, "<unset>"), _age(obj, now)]


_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(modes: Iterable[str] | None) -> str:
    return ",".join(_ACCESS_MODES.get(mode, mode) for mode in modes or ())


def _claim(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    bound = bool(spec.get("volumeName"))
    return [
        _name(obj),
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or "<unset>",
        _age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _disruption_budget(obj: Manifest, now: datetime) -> list[Any]:
    spec = _spec(obj)
    return [
        _name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        _status(obj).get("disruptionsAllowed", 0),
        _age(obj, now),
    ]


def _ingress(obj: Manifest, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = [rule["host"] for rule in spec.get("rules") or [] if rule.get("host")]
    entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    return [
        _name(obj),
        spec.get("ingressClassName") or NONE,
        ",".join(hosts) or "*",
        ",".join(filter(None, (entry.get("ip") or entry.get("hostname") for entry in entries))),
        "80, 443" if spec.get("tls") else "80",
        _age(obj, now),
    ]


def _namespace(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), _status(obj).get("phase", ""), _age(obj, now)]


def _config_map(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _age(obj, now)]


def _secret(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or {}), _age(obj, now)]


def _service_account(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("secrets") or []), _age(obj, now)]


def _lease(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity", ""), _age(obj, now)]


def _created(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp", "")]


def _binding(obj: Manifest, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    return [_name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", _age(obj, now)]


def _priority_class(obj: Manifest, now: datetime) -> list[Any]:
    policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return [_name(obj), obj.get("value", 0), bool(obj.get("globalDefault")), _age(obj, now), policy]


def _storage_class(obj: Manifest, now: datetime) -> list[Any]:
    return [
        _name(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        _age(obj, now),
    ]


def _network_policy(obj: Manifest, now: datetime) -> list[Any]:
    return [_name(obj), _selector(_spec(obj).get("podSelector")), _age(obj, now)]


_EVENT = BuiltinTable(
    (
        *columns("Last Seen,Type,Reason,Object"),
        *columns("", "Subobject,Source"),
        *columns("Message"),
        *columns("", "First Seen,Count,Name"),
    ),
    _event,
)
_REPLICAS = BuiltinTable(columns("Name,Desired#,Current#,Ready#,Age", "Containers,Images,Selector"), _replica_set)
_CREATED = BuiltinTable(columns("Name,Created At"), _created)
_BINDING = BuiltinTable(columns("Name,Role,Age"), _binding)

BUILTIN_TABLES: dict[tuple[str, str], BuiltinTable] = {
    ("", "pods"): BuiltinTable(
        columns("Name,Ready,Status,Restarts,Age", "IP,Node,Nominated Node,Readiness Gates"), _pod
    ),
    ("", "services"): BuiltinTable(columns("Name,Type,Cluster-IP,External-IP,Port(s),Age", "Selector"), _service),
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT,
    ("", "namespaces"): BuiltinTable(columns("Name,Status,Age"), _namespace),
    ("", "nodes"): BuiltinTable(
        columns(
            "Name,Status,Roles,Age,Version",
            "Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime",
        ),
        _node,
    ),
    ("", "configmaps"): BuiltinTable(columns("Name,Data,Age"), _config_map),
    ("", "secrets"): BuiltinTable(columns("Name,Type,Data,Age"), _secret),
    ("", "serviceaccounts"): BuiltinTable(columns("Name,Secrets,Age"), _service_account),
    ("", "endpoints"): BuiltinTable(columns("Name,Endpoints,Age"), _endpoints),
    ("", "replicationcontrollers"): _REPLICAS,
    ("", "persistentvolumeclaims"): BuiltinTable(
        columns(
            "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age",
            "VolumeMode",
        ),
        _claim,
    ),
    ("apps", "deployments"): BuiltinTable(
        columns("Name,Ready,Up-to-date,Available,Age", "Containers,Images,Selector"), _deployment
    ),
    ("apps", "replicasets"): _REPLICAS,
    ("apps", "statefulsets"): BuiltinTable(columns("Name,Ready,Age", "Containers,Images"), _stateful_set),
    ("apps", "daemonsets"): BuiltinTable(
        columns(
            "Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age",
            "Containers,Images,Selector",
        ),
        _daemon_set,
    ),
    ("batch", "jobs"): BuiltinTable(
        columns("Name,Status,Completions,Duration,Age", "Containers,Images,Selector"), _job
    ),
    ("batch", "cronjobs"): BuiltinTable(columns("Name,Schedule,Timezone,Suspend,Active#,Last Schedule,Age"), _cron_job),
    ("coordination.k8s.io", "leases"): BuiltinTable(columns("Name,Holder,Age"), _lease),
    ("discovery.k8s.io", "endpointslices"): BuiltinTable(
        columns("Name,AddressType,Ports,Endpoints,Age"), _endpoint_slice
    ),
    ("policy", "poddisruptionbudgets"): BuiltinTable(
        columns("Name,Min Available,Max Unavailable,Allowed Disruptions#,Age"), _disruption_budget
    ),
    ("networking.k8s.io", "ingresses"): BuiltinTable(columns("Name,Class,Hosts,Address,Ports,Age"), _ingress),
    ("networking.k8s.io", "networkpolicies"): BuiltinTable(columns("Name,Pod-Selector,Age"), _network_policy),
    ("apiextensions.k8s.io", "customresourcedefinitions"): _CREATED,
    ("rbac.authorization.k8s.io", "roles"): _CREATED,
    ("rbac.authorization.k8s.io", "clusterroles"): _CREATED,
    ("rbac.authorization.k8s.io", "rolebindings"): _BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDING,
    ("scheduling.k8s.io", "priorityclasses"): BuiltinTable(
        columns("Name,Value#,Global-Default,Age,PreemptionPolicy"), _priority_class
    ),
    ("storage.k8s.io", "storageclasses"): BuiltinTable(
        columns("Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age"), _storage_class
    ),
}
"""By group and plural. A kind that is not here shows its name and age."""

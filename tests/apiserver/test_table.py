"""What a user reads in `kubectl get`: the cells of built-in and custom kinds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfcore.api.resource import Resource
from kfcore.apiserver import table
from kfcore.apiserver.catalogue import builtin_kinds
from kfcore.apiserver.duration import human_duration
from kfcore.apiserver.jsonpath import JsonPathError, compile_path
from kfcore.apiserver.kinds import Column, Kinds, ServedKind
from kfcore.client.errors import BadRequest

NOW = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
KINDS = Kinds(builtin_kinds())


def ago(**duration: float) -> str:
    return (NOW - timedelta(**duration)).isoformat().replace("+00:00", "Z")


def kind_of(api_version: str, kind: str) -> ServedKind:
    served = KINDS.of(api_version, kind)
    assert served is not None
    return served


def rows(api_version: str, kind: str, *manifests: dict[str, Any]) -> list[list[Any]]:
    body = table.build(kind_of(api_version, kind), manifests, {}, include="None", now=NOW)
    width = len(body["columnDefinitions"])
    cells = [row["cells"] for row in body["rows"]]
    assert all(len(row) == width for row in cells)
    return cells


def a_pod(*states: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: Any) -> dict[str, Any]:
    def container_statuses(prefix: str, entries: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        return [
            {"name": f"{prefix}{index}", "ready": "running" in s.get("state", {}), **s}
            for index, s in enumerate(entries)
        ]

    return {
        "metadata": {"name": "p", "creationTimestamp": ago(minutes=5)},
        "spec": {
            "containers": [{"name": f"c{index}"} for index in range(max(len(states), 1))],
            "initContainers": [{"name": f"i{index}"} for index in range(len(init))],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": container_statuses("c", states),
            "initContainerStatuses": container_statuses("i", init),
            **status,
        },
    }


RUNNING = {"state": {"running": {"startedAt": "2024-05-01T11:00:00Z"}}}


def terminated(exit_code: int, reason: str = "", signal: int = 0) -> dict[str, Any]:
    state: dict[str, Any] = {"exitCode": exit_code}
    if reason:
        state["reason"] = reason
    if signal:
        state["signal"] = signal
    return {"state": {"terminated": state}}


def waiting(reason: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason}}}


@pytest.mark.parametrize(
    ("pod", "ready", "status"),
    [
        (a_pod(phase="Pending"), "0/1", "Pending"),
        (a_pod(RUNNING, RUNNING), "2/2", "Running"),
        (a_pod(waiting("ContainerCreating"), phase="Pending"), "0/1", "ContainerCreating"),
        (a_pod(waiting("CrashLoopBackOff")), "0/1", "CrashLoopBackOff"),
        (a_pod(terminated(0, "Completed"), phase="Succeeded"), "0/1", "Completed"),
        (a_pod(terminated(1, "Error"), phase="Failed"), "0/1", "Error"),
        (a_pod(terminated(3), phase="Failed"), "0/1", "ExitCode:3"),
        (a_pod(terminated(137, signal=9), phase="Failed"), "0/1", "Signal:9"),
        (a_pod(phase="Failed", reason="Evicted"), "0/1", "Evicted"),
        (
            a_pod(waiting("PodInitializing"), init=(RUNNING, waiting("PodInitializing")), phase="Pending"),
            "0/1",
            "Init:0/2",
        ),
        (a_pod(init=(terminated(0), RUNNING), phase="Pending"), "0/1", "Init:1/2"),
        (a_pod(init=(terminated(2, "Error"),), phase="Pending"), "0/1", "Init:Error"),
        (a_pod(init=(terminated(2),), phase="Pending"), "0/1", "Init:ExitCode:2"),
        (a_pod(init=(waiting("CrashLoopBackOff"),), phase="Pending"), "0/1", "Init:CrashLoopBackOff"),
        (a_pod(terminated(0, "Completed"), RUNNING), "1/2", "NotReady"),
        (
            a_pod(terminated(0, "Completed"), RUNNING, conditions=[{"type": "Ready", "status": "True"}]),
            "1/2",
            "Running",
        ),
        (a_pod(conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]), "0/1", "SchedulingGated"),
    ],
)
def test_the_status_of_a_pod_is_the_word_that_kubectl_users_know(pod: dict[str, Any], ready: str, status: str) -> None:
    assert rows("v1", "Pod", pod)[0][1:3] == [ready, status]


def test_a_pod_being_deleted_is_terminating() -> None:
    pod = a_pod(RUNNING)
    pod["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert rows("v1", "Pod", pod)[0][2] == "Terminating"


def test_a_finished_pod_being_deleted_keeps_its_outcome() -> None:
    pod = a_pod(terminated(0, "Completed"), phase="Succeeded")
    pod["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert rows("v1", "Pod", pod)[0][2] == "Completed"


def test_restarts_say_when_the_last_one_was() -> None:
    died = {"lastState": {"terminated": {"exitCode": 1, "finishedAt": ago(seconds=90)}}, "restartCount": 3}
    assert rows("v1", "Pod", a_pod(RUNNING | died))[0][3] == "3 (90s ago)"


def test_a_running_sidecar_counts_as_ready_and_holds_nothing_up() -> None:
    pod = a_pod(RUNNING, init=(RUNNING | {"started": True},))
    pod["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert rows("v1", "Pod", pod)[0][1:3] == ["2/2", "Running"]


def test_a_finished_pods_row_is_marked_completed() -> None:
    pod = a_pod(terminated(0, "Completed"), phase="Succeeded")
    row = table.build(kind_of("v1", "Pod"), [pod], {}, include="None", now=NOW)["rows"][0]
    assert row["conditions"][0]["type"] == "Completed"


def test_a_service_shows_its_addresses_and_ports() -> None:
    metadata = {"name": "s", "creationTimestamp": ago(hours=3)}
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]
    plain = {"metadata": metadata, "spec": {"clusterIP": "10.0.0.1", "ports": ports, "selector": {"b": "2", "a": "1"}}}
    balanced = {"metadata": metadata, "spec": {"type": "LoadBalancer", "clusterIP": "None"}}
    external = {"metadata": metadata, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert rows("v1", "Service", plain, balanced, external) == [
        ["s", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53:30053/UDP", "3h", "a=1,b=2"],
        ["s", "LoadBalancer", "None", "<pending>", "<none>", "3h", "<none>"],
        ["s", "ExternalName", "<none>", "example.com", "<none>", "3h", "<none>"],
    ]


def test_an_event_shows_what_happened_to_whom_and_how_long_ago() -> None:
    event = {
        "metadata": {"name": "p.1", "creationTimestamp": ago(minutes=30)},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "type": "Warning",
        "reason": "Failed",
        "message": "no such file\n",
        "count": 4,
        "firstTimestamp": ago(minutes=30),
        "lastTimestamp": ago(seconds=10),
        "source": {"component": "kubelet", "host": "n1"},
    }
    assert rows("v1", "Event", event) == [
        ["10s", "Warning", "Failed", "pod/p", "", "kubelet, n1", "no such file", "30m", 4, "p.1"]
    ]


def test_a_deployment_shows_ready_against_wanted() -> None:
    deployment = {
        "metadata": {"name": "d", "creationTimestamp": ago(days=3)},
        "spec": {
            "replicas": 3,
            "selector": {
                "matchLabels": {"app": "d"},
                "matchExpressions": [{"key": "t", "operator": "In", "values": ["b", "a"]}],
            },
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}},
        },
        "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
    }
    assert rows("apps/v1", "Deployment", deployment) == [["d", "1/3", 2, 1, "3d", "c,d", "i,j", "app=d,t in (a,b)"]]


def test_every_built_in_kind_shows_an_empty_object_without_stumbling() -> None:
    for kind in KINDS:
        bare = {"metadata": {"name": "x"}}
        body = table.build(kind, [bare], {}, include="None", now=NOW)
        assert len(body["rows"][0]["cells"]) == len(body["columnDefinitions"])
        assert "x" in body["rows"][0]["cells"]


def a_custom_kind(*columns: Column) -> ServedKind:
    return ServedKind(Resource("example.com", "v1", "Widget", "widgets"), custom=True, columns=columns)


def test_a_custom_kind_shows_the_printer_columns_of_its_crd() -> None:
    kind = a_custom_kind(
        Column("State", "string", ".status.conditions[-1:].type"),
        Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Size", "integer", ".spec.size"),
        Column("Ratio", "number", ".spec.ratio"),
        Column("On", "boolean", ".spec.on"),
        Column("Since", "date", ".status.since"),
        Column("Bad", "integer", ".spec.name"),
        Column("Missing", "string", ".spec.nothing.at.all"),
        Column("Whole", "string", ".spec.map"),
    )
    conditions = [{"type": "Ready", "status": "False"}, {"type": "Running", "status": "True"}]
    widget = {
        "metadata": {"name": "w"},
        "spec": {"size": 3, "ratio": 0.5, "on": True, "name": "n", "map": {"a": 1}},
        "status": {"conditions": conditions, "since": ago(hours=5, minutes=7)},
    }
    body = table.build(kind, [widget], {}, include="None", now=NOW)
    assert body["rows"][0]["cells"] == ["w", "Running", "False", 3, 0.5, True, "5h7m", None, None, '{"a":1}']


def test_a_custom_kind_without_columns_shows_name_and_age() -> None:
    body = table.build(
        a_custom_kind(), [{"metadata": {"name": "w", "creationTimestamp": ago(seconds=7)}}], {}, include="None", now=NOW
    )
    assert [column["name"] for column in body["columnDefinitions"]] == ["Name", "Age"]
    assert body["rows"][0]["cells"] == ["w", "7s"]


def test_a_row_carries_metadata_the_whole_object_or_nothing_as_asked() -> None:
    widget = {"metadata": {"name": "w"}, "spec": {"size": 1}}

    def shown(include: str) -> Any:
        return table.build(a_custom_kind(), [widget], {}, include=include, now=NOW)["rows"][0]["object"]

    assert shown("None") is None
    assert shown("Object") == widget
    assert shown("")["kind"] == shown("Metadata")["kind"] == "PartialObjectMetadata"
    with pytest.raises(BadRequest, match="includeObject"):
        shown("Everything")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (8 * 3600, "8h"), (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"), (51 * 3600, "2d3h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"),
        (800 * 86400, "2y70d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_a_duration_reads_as_kubectl_prints_it(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        ("$.a.b", [1]),
        (".a['b']", [1]),
        (r".labels.x\.io/y", ["z"]),
        (".labels['x.io/y']", ["z"]),
        (".list[0].n", [1]),
        (".list[-1].n", [3]),
        (".list[-1:].n", [3]),
        (".list[0:2].n", [1, 2]),
        (".list[:-1].n", [1, 2]),
        (".list[*].n", [1, 2, 3]),
        (".list[0,2].n", [1, 3]),
        ("..n", [1, 2, 3]),
        (".list[?(@.n>1)].n", [2, 3]),
        (".list[?(@.t=='x')].n", [2]),
        ('.list[?(@.t=="x")].n', [2]),
        (".list[?(@.t)].n", [2]),
        (".list[?(@.t>1)].n", []),
        (".list[9].n", []),
        (".nothing[*].x", []),
        (".a.b.c", []),
    ],
)
def test_a_json_path_finds_what_kubectl_would(path: str, found: list[Any]) -> None:
    document = {"a": {"b": 1}, "labels": {"x.io/y": "z"}, "list": [{"n": 1}, {"n": 2, "t": "x"}, {"n": 3}]}
    assert compile_path(path)(document) == found


@pytest.mark.parametrize("path", [".a[", ".a[x]", ".a[?(@.b==c)]", ".a b"])
def test_a_malformed_json_path_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError, match="is not a JSONPath"):
        compile_path(path)


def test_an_autoscaler_shows_what_is_beside_what_should_be() -> None:
    utilization = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}
    value = {"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1Gi"}}}
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30}}}
    reference = {"kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 4, "metrics": [utilization, value]}
    status = {"currentReplicas": 2, "currentMetrics": [current]}
    manifest = {"metadata": {"name": "a", "creationTimestamp": ago(minutes=5)}, "spec": spec, "status": status}
    [row] = rows("autoscaling/v2", "HorizontalPodAutoscaler", manifest)
    assert row == ["a", "Deployment/web", "cpu: 30%/50%, memory: <unknown>/1Gi", "1", 4, 2, "5m"]


def test_a_volume_shows_its_claim_and_phase() -> None:
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": "default", "name": "data"},
        "storageClassName": "standard",
        "volumeMode": "Filesystem",
    }
    metadata = {"name": "v", "creationTimestamp": ago(minutes=5)}
    [row] = rows("v1", "PersistentVolume", {"metadata": metadata, "spec": spec, "status": {"phase": "Bound"}})
    place = ["Bound", "default/data", "standard", "<unset>", "", "5m", "Filesystem"]
    assert row == ["v", "1Gi", "RWO", "Delete", *place]


def test_load_balancers_are_listed_once_and_in_order() -> None:
    entries = [{"ip": "10.0.0.2"}, {"hostname": "a.example.com"}, {"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]
    status = {"loadBalancer": {"ingress": entries}}
    metadata = {"name": "s", "creationTimestamp": ago(hours=3)}
    spec = {"type": "LoadBalancer", "externalIPs": ["192.0.2.1"]}
    [service] = rows("v1", "Service", {"metadata": metadata, "spec": spec, "status": status})
    assert service[3] == "10.0.0.1,10.0.0.2,a.example.com,192.0.2.1"
    [ingress] = rows("networking.k8s.io/v1", "Ingress", {"metadata": metadata, "status": status})
    assert ingress[3] == "10.0.0.1,10.0.0.2,a.example.com"


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        ([], "*"),
        ([""], "*"),
        (["a", "", "b"], "a,b"),
        (["a", "b", "c"], "a,b,c"),
        (["a", "b", "c", "d", "e"], "a,b,c + 2 more..."),
        (["a", "", "b", "c", ""], "a,b,c + 2 more..."),
    ],
)
def test_of_the_hosts_of_an_ingress_three_are_shown(hosts: list[str], shown: str) -> None:
    rules = [{"host": host} if host else {"http": {}} for host in hosts]
    [cells] = rows("networking.k8s.io/v1", "Ingress", {"metadata": {"name": "i"}, "spec": {"rules": rules}})
    assert cells[2] == shown


def test_a_node_shows_its_roles_however_they_are_said() -> None:
    labels = {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "gpu"}
    [cells] = rows("v1", "Node", {"metadata": {"name": "n", "labels": labels}})
    assert cells[2] == "gpu,worker"

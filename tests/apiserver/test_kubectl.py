"""A real kubectl against the in-process API: what a user types, and what they see. Changing is in
`test_kubectl_write.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from kubectl_session import PODS, Kubectl, Serving, a_pod, a_widget, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as served:
        yield served


@pytest.fixture
def kubectl(server: Serving) -> Kubectl:
    return Kubectl(server, server.kubeconfig.parent)


def test_get_shows_pods_as_users_know_them(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    kubectl.set_status("pod/p", PODS["running"])
    header, row = kubectl("get", "pods").columns
    assert header == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row == ["p", "1/1", "Running", "0"]
    wide = kubectl("get", "pods", "-o", "wide").out
    assert "NOMINATED NODE" in wide
    assert "READINESS GATES" in wide
    assert "10.1.1.1" in wide


def test_get_all_namespaces_adds_the_namespace(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    assert [kubectl.namespace, "p"] in [row[:2] for row in kubectl("get", "po", "-A").columns]


def test_get_prints_nothing_but_a_note_when_there_is_nothing(kubectl: Kubectl) -> None:
    assert kubectl("get", "pods").err == f"No resources found in {kubectl.namespace} namespace.\n"


def test_get_of_an_unknown_name_or_kind_says_so(kubectl: Kubectl) -> None:
    assert kubectl.fails("get", "pod", "nobody").err == 'Error from server (NotFound): pods "nobody" not found\n'
    assert "the server doesn't have a resource type" in kubectl.fails("get", "nonsense").err


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("name", "pod/p"),
        ("jsonpath={.items[*].metadata.name}", "p"),
        ("go-template={{range .items}}{{.spec.restartPolicy}}{{end}}", "Always"),
        ("custom-columns=N:.metadata.name,I:.spec.containers[0].image", "N I\np busybox"),
    ],
)
def test_get_prints_every_output_format(kubectl: Kubectl, output: str, shown: str) -> None:
    kubectl.apply(a_pod("p"))
    printed = kubectl("get", "pods", "-o", output).out
    assert re.sub(" +", " ", printed).strip() == shown


def test_get_as_json_and_yaml_holds_the_object(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    assert json.loads(kubectl("get", "pods", "-o", "json").out)["items"][0]["metadata"]["name"] == "p"
    assert json.loads(kubectl("get", "pod", "p", "-o", "json").out)["kind"] == "Pod"
    assert "\nkind: Pod\n" in kubectl("get", "pod", "p", "-o", "yaml").out


def test_get_selects_by_label_and_field(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("a", app="x"), a_pod("b", app="y"))
    assert kubectl("get", "pods", "-l", "app=x", "-o", "name").out == "pod/a\n"
    assert kubectl("get", "pods", "-l", "app notin (x)", "-o", "name").out == "pod/b\n"
    assert kubectl("get", "pods", "--field-selector", "metadata.name=b", "-o", "name").out == "pod/b\n"
    assert kubectl("get", "pods", "--field-selector", "status.phase=Pending", "-o", "name").out == "pod/a\npod/b\n"
    assert kubectl("get", "pods", "a", "b", "-o", "name").out == "pod/a\npod/b\n"
    assert [row[-1] for row in kubectl("get", "pods", "-L", "app").columns] == ["APP", "x", "y"]
    assert [row[-1] for row in kubectl("get", "pods", "--show-labels").columns] == ["LABELS", "app=x", "app=y"]
    assert kubectl("get", "pods", "--sort-by=.metadata.labels.app", "--no-headers").columns[0][0] == "a"


def test_get_in_small_chunks_shows_everything(kubectl: Kubectl) -> None:
    kubectl.apply(*(a_pod(f"p{index}") for index in range(5)))
    assert len(kubectl("get", "pods", "--chunk-size=2", "--no-headers").columns) == 5


def test_get_all_shows_workloads_services_and_custom_kinds_of_that_category(kubectl: Kubectl) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    kubectl.apply(a_pod("p"), service, a_widget("w"))
    shown = kubectl("get", "all").out
    for name in ("pod/p", "service/s", "widget.example.com/w"):
        assert name in shown


def test_get_shows_the_columns_of_a_custom_kind(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w", size=3))
    kubectl.set_status("widget/w", {"conditions": [{"type": "Created"}, {"type": "Running"}]})
    assert kubectl("get", "widgets").columns == [["NAME", "STATE", "SIZE", "AGE"], ["w", "Running", "3"]]
    assert kubectl("get", "wd", "w", "-o", "jsonpath={.status.conditions[-1:].type}").out == "Running"


def test_get_watch_prints_a_row_for_each_change(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    with kubectl.running("get", "pods", "-w") as watch:
        assert watch.line().split()[0] == "NAME"
        assert watch.line().split()[:3] == ["p", "0/1", "Pending"]
        kubectl.set_status("pod/p", PODS["running"])
        assert watch.line().split()[:3] == ["p", "1/1", "Running"]
        kubectl("delete", "pod", "p", "--now", "--wait=false")
        assert watch.line().split()[0] == "p"
    with kubectl.running("get", "pods", "-w", "--output-watch-events", "--watch-only") as watch:
        watch.until_it_watches()
        kubectl.apply(a_pod("q"))
        assert watch.line().split()[0] == "EVENT"
        assert watch.line().split()[:2] == ["ADDED", "q"]


def test_describe_a_pod_shows_its_containers_and_events(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    kubectl.set_status("pod/p", PODS["running"])
    kubectl.event("Pod", "p", "Pulled", "the image is this machine")
    shown = kubectl("describe", "pod", "p").out
    for text in ("Namespace:", "busybox", "State:          Running", "Pulled", "the image is this machine"):
        assert text in shown


def test_describe_a_service_shows_its_endpoints_and_ports(kubectl: Kubectl) -> None:
    spec = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})
    shown = kubectl("describe", "service", "s").out
    assert "Selector:" in shown
    assert "80/TCP" in shown


def test_describe_a_custom_object_shows_its_fields_and_events(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w", size=3))
    kubectl.event("Widget", "w", "Grown", "it is bigger now", api_version="example.com/v1")
    shown = kubectl("describe", "widget", "w").out
    assert "Size:  3" in shown
    assert "it is bigger now" in shown


def test_describe_works_for_every_kind_that_a_user_meets(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "serviceaccount", "sa")
    kubectl("create", "deployment", "d", "--image=busybox")
    kubectl("create", "job", "j", "--image=busybox")
    for kind, name in (("configmap", "c"), ("secret", "s"), ("sa", "sa"), ("deployment", "d"), ("job", "j")):
        assert name in kubectl("describe", kind, name).out
    assert kubectl.namespace in kubectl("describe", "namespace", kubectl.namespace).out
    assert "Widget" in kubectl("describe", "crd", "widgets.example.com").out


def test_events_lists_what_happened_newest_last(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"), a_pod("q"))
    kubectl.event("Pod", "p", "First", "one")
    kubectl.event("Pod", "q", "Second", "two")
    assert [row[2] for row in kubectl("events").columns[1:]] == ["First", "Second"]
    assert [row[2] for row in kubectl("events", "--for", "pod/q").columns[1:]] == ["Second"]
    assert "pod/p" in kubectl("get", "events").out


def test_explain_documents_built_in_and_custom_fields(kubectl: Kubectl) -> None:
    assert "GROUP:      apps" in kubectl("explain", "deployments").out
    shown = kubectl("explain", "pod.spec.containers.command").out
    assert "FIELD: command <[]string>" in shown
    assert "Entrypoint" in shown
    assert "-required-" in kubectl("explain", "pod.spec.containers").out
    assert "How big it is." in kubectl("explain", "widget.spec.size").out
    assert "size" in kubectl("explain", "widget", "--recursive").out


def test_explain_reads_the_older_document_too(kubectl: Kubectl) -> None:
    shown = kubectl("explain", "pod.spec.volumes", "--output=plaintext-openapiv2").out
    assert "RESOURCE: volumes <[]Object>" in shown
    assert "emptyDir" in shown
    assert "How big it is." in kubectl("explain", "widget.spec.size", "--output=plaintext-openapiv2").out


def test_api_resources_and_versions_list_what_is_served(kubectl: Kubectl) -> None:
    shown = [row[0] for row in kubectl("api-resources").columns]
    assert {"pods", "deployments", "widgets", "leases"} <= set(shown)
    assert kubectl("api-resources", "--api-group=example.com", "-o", "name").out == "widgets.example.com\n"
    assert {"v1", "apps/v1", "example.com/v1"} <= set(kubectl("api-versions").out.split())


def test_version_and_cluster_info_name_the_server(kubectl: Kubectl) -> None:
    version = json.loads(kubectl("version", "-o", "json").out)["serverVersion"]
    assert version["minor"] == "36"
    assert "kfcore" in version["gitVersion"]
    assert kubectl.url in kubectl("cluster-info").out


def test_auth_can_i_says_yes(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods").out == "yes\n"
    assert kubectl("auth", "can-i", "delete", "widgets.example.com").out == "yes\n"
    assert "kfcore" in kubectl("auth", "whoami").out
    assert "[*]" in kubectl("auth", "can-i", "--list").out


def test_config_view_hides_the_token(kubectl: Kubectl) -> None:
    shown = kubectl("config", "view").out
    assert kubectl.url in shown
    assert "REDACTED" in shown


def test_raw_health_is_ok(kubectl: Kubectl) -> None:
    assert kubectl("get", "--raw", "/readyz").out == "ok"


def test_wait_returns_when_the_condition_holds(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"), a_pod("p"))
    with kubectl.running("wait", "--for=condition=Succeeded", "widget/w", "--timeout=240s") as waiting:
        waiting.until_it_watches()
        kubectl.set_status("widget/w", {"conditions": [{"type": "Succeeded", "status": "True"}]})
        assert waiting.line() == "widget.example.com/w condition met\n"
    with kubectl.running("wait", "--for=jsonpath={.status.phase}=Running", "pod/p", "--timeout=240s") as waiting:
        waiting.until_it_watches()
        kubectl.set_status("pod/p", PODS["running"])
        assert waiting.line() == "pod/p condition met\n"
    with kubectl.running("wait", "--for=delete", "widget/w", "--timeout=240s") as waiting:
        waiting.until_it_watches()
        kubectl("delete", "widget", "w")
        assert waiting.line() == "widget.example.com/w condition met\n"


def test_wait_says_when_its_time_is_over(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    said = []
    for seconds in (0.2, 2, 20, 60):  # where it has not even begun to wait by then, it says something else
        said.append(kubectl.fails("wait", "--for=condition=Ready=False", "pod/p", f"--timeout={seconds}s").err)
        if "timed out" in said[-1]:
            return
    raise AssertionError(said)


def test_logs_prints_tails_and_prefixes(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p", app="x"))
    kubectl.set_status("pod/p", PODS["running"])
    assert kubectl("logs", "p").out == "c line 1\nc line 2\nc line 3\n"
    assert kubectl("logs", "p", "--tail=1").out == "c line 3\n"
    assert kubectl("logs", "p", "--limit-bytes=3").out == "c l"
    assert kubectl("logs", "p", "--since=1h", "--timestamps").out.startswith("2024-01-01T00:00:00Z c line 1")
    assert kubectl("logs", "-l", "app=x", "--prefix").out.startswith("[pod/p/c] c line 1")
    assert kubectl("logs", "p", "--all-containers").out.count("\n") == 3
    assert kubectl("logs", "-l", "app=x", "--all-containers", "--tail=1").out == "c line 3\n"


def test_logs_follow_prints_each_line_as_it_comes_and_ends_with_the_container(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    kubectl.set_status("pod/p", PODS["running"])
    with kubectl.running("logs", "-f", "p") as following:
        assert [following.line() for _ in range(3)][-1] == "c line 3\n"
        kubectl.log_line("one more")
        assert following.line() == "one more\n"
        kubectl.log_line(None)
        assert following.line() == ""


def test_logs_of_a_container_that_cannot_have_any_say_why(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p", containers=("a", "b")))
    assert "not found" in kubectl.fails("logs", "nobody").err
    assert kubectl.fails("logs", "p", "-c", "z").err.endswith("container z is not valid for pod p\n")
    assert "is waiting to start: ContainerCreating" in kubectl.fails("logs", "p", "-c", "a").err
    assert "previous terminated container" in kubectl.fails("logs", "p", "-c", "a", "--previous").err

"""A real kubectl against the in-process API: creating, changing and deleting. Reading is in `test_kubectl.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl_session import Kubectl, Serving, a_pod, a_widget, as_list, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as served:
        yield served


@pytest.fixture
def kubectl(server: Serving) -> Kubectl:
    return Kubectl(server, server.kubeconfig.parent)


def test_apply_creates_then_changes_then_leaves_alone(kubectl: Kubectl) -> None:
    assert kubectl.apply(a_widget("w")).out == "widget.example.com/w created\n"
    assert kubectl.apply(a_widget("w", size=2)).out == "widget.example.com/w configured\n"
    assert kubectl.apply(a_widget("w", size=2)).out == "widget.example.com/w unchanged\n"
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "2"


def test_apply_of_a_built_in_kind_merges_lists_and_removes_what_is_gone(kubectl: Kubectl) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    kubectl.apply(config)
    kubectl("patch", "configmap", "c", "-p", '{"data":{"theirs":"3"}}')
    assert kubectl.apply({**config, "data": {"a": "9"}}).out == "configmap/c configured\n"
    assert json.loads(kubectl("get", "cm", "c", "-o", "jsonpath={.data}").out) == {"a": "9", "theirs": "3"}
    pod = a_pod("p", app="x")
    kubectl.apply(pod)
    pod["metadata"]["labels"] = {"app": "y"}
    assert kubectl.apply(pod).out == "pod/p configured\n"
    assert kubectl.apply(pod).out == "pod/p unchanged\n"


def test_apply_reads_a_whole_directory_of_yaml(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(as_list(a_pod("a"), a_pod("b")))
    (tmp_path / "b.json").write_text(json.dumps(a_widget("w")))
    assert kubectl("apply", "-f", str(tmp_path)).out.count("created") == 3


def test_apply_says_which_field_is_unknown(kubectl: Kubectl) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "dta": {"a": "1"}}
    assert 'unknown field "dta"' in kubectl.fails("apply", "-f", "-", stdin=json.dumps(config)).err
    widget = a_widget("w")
    widget["spec"]["sise"] = 3
    assert 'unknown field "spec.sise"' in kubectl.fails("apply", "-f", "-", stdin=json.dumps(widget)).err


def test_apply_says_which_field_has_the_wrong_type(kubectl: Kubectl) -> None:
    widget = a_widget("w")
    widget["spec"]["size"] = "large"
    refused = kubectl.fails("apply", "-f", "-", stdin=json.dumps(widget)).err
    assert "spec.size" in refused
    assert "integer" in refused


def test_apply_of_an_unknown_kind_says_so(kubectl: Kubectl) -> None:
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    assert 'no matches for kind "Gadget"' in kubectl.fails("apply", "-f", "-", stdin=json.dumps(gadget)).err


def test_apply_on_the_server_side_creates_and_changes(kubectl: Kubectl) -> None:
    def apply(size: int) -> str:
        return kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(a_widget("w", size=size))).out

    assert apply(1) == "widget.example.com/w serverside-applied\n"
    assert apply(2) == "widget.example.com/w serverside-applied\n"
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "2"


def test_a_dry_run_changes_nothing(kubectl: Kubectl) -> None:
    shown = kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(a_widget("w")))
    assert shown.out == "widget.example.com/w created (server dry run)\n"
    kubectl.fails("get", "widget", "w")


def test_create_refuses_what_exists_and_replace_what_does_not(kubectl: Kubectl) -> None:
    widget = json.dumps(a_widget("w"))
    assert "not found" in kubectl.fails("replace", "-f", "-", stdin=widget).err
    assert kubectl("create", "-f", "-", stdin=widget).out == "widget.example.com/w created\n"
    assert "already exists" in kubectl.fails("create", "-f", "-", stdin=widget).err
    assert kubectl("replace", "-f", "-", stdin=json.dumps(a_widget("w", size=7))).out.endswith("replaced\n")
    assert kubectl("replace", "--force", "-f", "-", stdin=json.dumps(a_widget("w", size=8))).out.endswith("replaced\n")
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "8"


def test_create_generates_a_name_when_asked(kubectl: Kubectl) -> None:
    pod = a_pod("")
    pod["metadata"] = {"generateName": "p-"}
    assert kubectl("create", "-f", "-", stdin=json.dumps(pod)).out.startswith("pod/p-")


def test_run_starts_a_pod(kubectl: Kubectl) -> None:
    assert kubectl("run", "p", "--image=busybox", "--restart=Never", "--", "sleep", "1").out == "pod/p created\n"
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].args[0]}").out == "sleep"


def test_patch_takes_merge_json_and_strategic_patches(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"), a_pod("p"))
    kubectl("patch", "widget", "w", "--type=merge", "-p", '{"spec":{"size":2}}')
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "2"
    kubectl("patch", "widget", "w", "--type=json", "-p", '[{"op":"replace","path":"/spec/size","value":3}]')
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "3"
    kubectl("patch", "pod", "p", "-p", '{"spec":{"containers":[{"name":"c","image":"other"}]}}')
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[*].image}").out == "other"


def test_label_and_annotate_add_change_and_remove(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"))
    assert kubectl("label", "widget", "w", "a=1").out == "widget.example.com/w labeled\n"
    assert "already has a value" in kubectl.fails("label", "widget", "w", "a=2").err
    kubectl("label", "widget", "w", "a=2", "--overwrite")
    kubectl("annotate", "widget", "w", "note=here")
    assert kubectl("get", "widgets", "-l", "a=2", "-o", "jsonpath={.items[0].metadata.annotations.note}").out == "here"
    assert kubectl("label", "widget", "w", "a-").out == "widget.example.com/w unlabeled\n"
    assert kubectl("get", "widgets", "-l", "a", "-o", "name").out == ""


def test_edit_saves_what_the_editor_changed(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(a_widget("w"))
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i "s/size: 1/size: 5/" "$1"\n')
    editor.chmod(0o755)
    assert kubectl("edit", "widget", "w", KUBE_EDITOR=str(editor)).out == "widget.example.com/w edited\n"
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "5"
    assert "no changes" in kubectl("edit", "widget", "w").err


def test_diff_shows_what_an_apply_would_change(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"))
    assert kubectl("diff", "-f", "-", stdin=json.dumps(a_widget("w"))).out == ""
    shown = kubectl.fails("diff", "-f", "-", stdin=json.dumps(a_widget("w", size=2))).out
    assert "-  size: 1" in shown
    assert "+  size: 2" in shown


def test_scale_sets_the_replicas_of_custom_and_built_in_kinds(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"))
    assert kubectl("scale", "widget", "w", "--replicas=4").out == "widget.example.com/w scaled\n"
    assert kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}").out == "4"
    assert (
        "Expected replicas to be 1" in kubectl.fails("scale", "widget", "w", "--current-replicas=1", "--replicas=5").err
    )
    kubectl("create", "deployment", "d", "--image=busybox")
    kubectl("scale", "deployment", "d", "--replicas=3")
    assert kubectl("get", "deploy", "d").columns[1][:2] == ["d", "0/3"]


def test_rollout_status_follows_a_deployment(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d", "--image=busybox")
    kubectl.set_status("deployment/d", {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1})
    with kubectl.running("rollout", "status", "deployment/d", "--timeout=240s") as rollout:
        assert "0 of 1 updated replicas are available" in rollout.line()
        kubectl.set_status("deployment/d", {"availableReplicas": 1, "readyReplicas": 1})
        assert rollout.line() == 'deployment "d" successfully rolled out\n'


def test_set_image_changes_a_template(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d", "--image=busybox")
    kubectl("set", "image", "deployment/d", "busybox=other:1")
    assert kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.template.spec.containers[0].image}").out == "other:1"


def test_delete_waits_until_the_object_is_gone(kubectl: Kubectl) -> None:
    kubectl.apply(a_widget("w"), a_pod("p", node=""))
    assert "deleted" in kubectl("delete", "widget", "w").out
    kubectl("delete", "pod", "p")
    assert kubectl("get", "widgets,pods", "-o", "name").out == ""
    assert "not found" in kubectl.fails("delete", "widget", "w").err
    kubectl("delete", "widget", "w", "--ignore-not-found")


def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    widget = a_widget("w")
    widget["metadata"]["finalizers"] = ["example.com/hold"]
    kubectl.apply(widget)
    with kubectl.running("delete", "widget", "w") as deleting:
        assert "deleted" in deleting.line()
        deleting.until_it_watches()
        assert kubectl("get", "widget", "w", "-o", "jsonpath={.metadata.deletionTimestamp}").out
        kubectl("patch", "widget", "w", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        assert deleting.line() == ""
    kubectl.fails("get", "widget", "w")


def test_delete_takes_selectors_files_and_everything(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("a", node="", app="x"), a_pod("b", node="", app="x"), a_pod("c", node=""), a_widget("w"))
    assert kubectl("delete", "pods", "-l", "app=x").out.count("deleted") == 2
    kubectl("delete", "-f", "-", stdin=json.dumps(a_widget("w")))
    assert "deleted" in kubectl("delete", "pods", "--all").out
    assert kubectl("get", "widgets,pods", "-o", "name").out == ""


@pytest.mark.parametrize(("cascade", "left"), [("background", ""), ("foreground", ""), ("orphan", "pod/p\n")])
def test_delete_cascades_as_asked(kubectl: Kubectl, cascade: str, left: str) -> None:
    kubectl.apply(a_widget("w"))
    pod = a_pod("p", node="")
    uid = kubectl("get", "widget", "w", "-o", "jsonpath={.metadata.uid}").out
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": uid, "blockOwnerDeletion": True}
    pod["metadata"]["ownerReferences"] = [owner]
    kubectl.apply(pod)
    kubectl("delete", "widget", "w", f"--cascade={cascade}")
    assert kubectl("get", "pods", "-o", "name").out == left


def test_delete_of_a_running_pod_gives_it_its_grace_period(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p"))
    kubectl("delete", "pod", "p", "--wait=false")
    assert kubectl("get", "pod", "p").columns[1][2] == "Terminating"
    kubectl("delete", "pod", "p", "--grace-period=0", "--force")
    kubectl.fails("get", "pod", "p")


def test_a_deleted_namespace_takes_its_objects_along(kubectl: Kubectl) -> None:
    kubectl.apply(a_pod("p", node=""), a_widget("w"))
    kubectl("delete", "namespace", kubectl.namespace)
    assert kubectl("get", "pods,widgets", "-o", "name").out == ""


def test_a_crd_applied_with_kubectl_is_served_at_once(kubectl: Kubectl) -> None:
    name = f"gadgets.{kubectl.namespace}.example.com"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"on": {"type": "boolean"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {
        "group": f"{kubectl.namespace}.example.com",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget"},
        "versions": [version],
    }
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}}
    kubectl.apply({**crd, "spec": spec})
    kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=240s")
    gadget = {"apiVersion": f"{spec['group']}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"on": True}}
    kubectl.apply(gadget)
    assert kubectl("get", "gadgets", "g", "-o", "jsonpath={.spec.on}").out == "true"
    assert "on\t<boolean>" in kubectl("explain", f"gadgets.{spec['group']}", "--recursive").out
    kubectl("delete", "crd", name)
    kubectl.fails("get", name)

"""What users of notebooks ran into, each under the number of the specification (N1 to N12)."""

from __future__ import annotations

import json

import pytest
from notebook_cluster import NAMESPACE, NOTEBOOKS, Cluster, a_notebook

from kfcore.client.errors import Invalid
from kfcore.client.interface import Propagation
from kfcore_notebook.children import Service, StatefulSet
from kfcore_notebook.settings import NotebookSettings

STOPPED = "kubeflow-resource-stopped"
PLAIN = NotebookSettings()


async def test_n1_a_notebook_that_is_as_it_should_be_causes_no_request_at_all() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook(resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}}))
        await cluster.pod_runs()
        cluster.client.requests.clear()
        for _ in range(3):  # whatever is touched, nothing has to be written
            await cluster.set_annotation("notebooks.kubeflow.org/seen", str(cluster.clock.now()))
            await cluster.rest(60)
        ours = [request for request in cluster.writes if not request[1].endswith("/notebooks/nb")]
        assert ours == []


async def test_n1_from_created_to_ready_there_is_a_write_per_child_and_two_of_the_status() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.pod_runs()
        ours = [(m, p.rsplit("/", 1)[1]) for m, p in cluster.writes if p.startswith("/api") and "pods" not in p]
        assert [write for write in ours if write[0] == "POST"] == [
            ("POST", "notebooks"),
            ("POST", "statefulsets"),
            ("POST", "services"),
        ]
        statuses = [path for method, path in cluster.writes if path.endswith("/notebooks/nb/status")]
        assert len(statuses) == 2


async def test_n1_an_operator_that_starts_again_writes_nothing() -> None:
    cluster = Cluster(NotebookSettings(use_istio=True))
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.pod_runs()
        await cluster.event_of("Pod", "nb-0", "Pulled the image", reason="Pulled")
    cluster.client.requests.clear()
    async with cluster.operator():
        await cluster.rest(10)
    assert cluster.writes == []


async def test_n1_what_others_change_is_corrected_and_what_they_add_stays() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.client.patch(
            StatefulSet, "nb", NAMESPACE, {"metadata": {"labels": {"mine": "1"}}, "spec": {"replicas": 3}}
        )
        template = {"spec": {"template": {"spec": {"containers": [{"name": "nb", "image": "other:2"}]}}}}
        await cluster.client.patch(StatefulSet, "nb", NAMESPACE, template)
        await cluster.rest()
        raw = await cluster.stateful_set()
        assert raw["spec"]["replicas"] == 1
        assert raw["spec"]["template"]["spec"]["containers"][0]["image"] == "jupyter:1"
        assert raw["metadata"]["labels"] == {"mine": "1"}


async def test_n2_a_notebook_that_is_being_deleted_is_left_alone_and_its_spec_is_never_written() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        manifest = a_notebook()
        manifest["metadata"]["finalizers"] = ["example.com/wait"]
        await cluster.create(manifest)
        assert (await cluster.notebook())["spec"] == manifest["spec"]
        await cluster.client.delete(NOTEBOOKS, "nb", NAMESPACE, propagation=Propagation.FOREGROUND)
        cluster.client.requests.clear()
        await cluster.rest(60)
        assert cluster.writes == []
        assert await cluster.client.list(StatefulSet, NAMESPACE) == []  # taken by the garbage collector, and not remade


async def test_n3_the_state_shown_is_that_of_the_server_beside_a_sidecar_and_does_not_flip() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.pod_runs(containers=("istio-proxy", "nb"))
        shown = await cluster.status()
        assert "running" in shown["containerState"]
        await cluster.set_annotation("touched", "1")
        assert await cluster.status() == shown


async def test_n4_a_pod_that_never_appears_is_explained_on_the_notebook() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.event_of("StatefulSet", "nb", "create Pod nb-0 failed: exceeded quota")
        condition = await cluster.condition("PodCreated")
        assert (condition["status"], condition["reason"]) == ("False", "FailedCreate")
        assert condition["message"] == "create Pod nb-0 failed: exceeded quota"
        await cluster.pod_runs()
        assert await cluster.condition("PodCreated") == {}


async def test_n9_the_old_names_of_variables_still_count() -> None:
    settings = NotebookSettings.from_environment({"IDLE_TIME": "30", "CULLING_CHECK_PERIOD": "2"})
    assert (settings.idle_seconds, settings.check_seconds) == (1800, 120)
    both = NotebookSettings.from_environment({"IDLE_TIME": "30", "CULL_IDLE_TIME": "5"})
    assert both.idle_seconds == 300


@pytest.mark.parametrize(
    "variable", ["CULL_IDLE_TIME=soon", "IDLENESS_CHECK_PERIOD=0", "CULL_SOURCES=cells", "CULL_SOURCES=,"]
)
async def test_a_variable_that_makes_no_sense_is_named(variable: str) -> None:
    name, _, value = variable.partition("=")
    with pytest.raises(ValueError, match=name):
        NotebookSettings.from_environment({name: value})


async def test_n11_a_name_that_its_pods_could_not_carry_is_refused_with_the_reason() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook("n" * 52))
        with pytest.raises(Invalid, match="at most 52 characters"):
            await cluster.create(a_notebook("n" * 53))


async def test_n12_a_flood_of_events_is_few_objects_and_re_issues_are_not_re_issued() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.pod_runs()
        for number in range(50):
            await cluster.event_of("Pod", "nb-0", "Back-off restarting", event=f"e{number}", reason="BackOff")
        on_notebook = [event for event in await cluster.events() if event.involved_object.kind == "Notebook"]
        assert [event.message for event in on_notebook] == ["Reissued from pod/nb-0: Back-off restarting"]
        assert on_notebook[0].count > 10


async def test_a_stop_by_annotation_and_a_start_change_the_replicas_and_not_the_pods_template() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        template = (await cluster.stateful_set())["spec"]["template"]
        await cluster.set_annotation(STOPPED, "2026-01-01T00:00:00Z")
        assert (await cluster.stateful_set())["spec"]["replicas"] == 0
        await cluster.set_annotation(STOPPED, None)
        raw = await cluster.stateful_set()
        assert (raw["spec"]["replicas"], raw["spec"]["template"]) == (1, template)


async def test_a_label_and_an_annotation_set_later_reach_the_pods_and_go_again() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        change = {"metadata": {"labels": {"team": "a"}, "annotations": {"owner": "me"}}}
        await cluster.client.patch(NOTEBOOKS, "nb", NAMESPACE, change)
        await cluster.rest()
        metadata = (await cluster.stateful_set())["spec"]["template"]["metadata"]
        assert (metadata["labels"]["team"], metadata["annotations"]) == ("a", {"owner": "me"})
        gone = {"metadata": {"labels": {"team": None}, "annotations": {"owner": None}}}
        await cluster.client.patch(NOTEBOOKS, "nb", NAMESPACE, gone)
        await cluster.rest()
        metadata = (await cluster.stateful_set())["spec"]["template"]["metadata"]
        assert "team" not in metadata["labels"]
        assert not metadata.get("annotations")


async def test_headers_that_are_no_json_are_empty_with_a_condition_that_says_so() -> None:
    cluster = Cluster(NotebookSettings(use_istio=True))
    key = "notebooks.kubeflow.org/http-headers-request-set"
    async with cluster.operator():
        await cluster.create(a_notebook(annotations={key: "oops"}))
        assert (await cluster.virtual_service())["spec"]["http"][0]["headers"]["request"]["set"] == {}
        assert (await cluster.condition("AnnotationsValid"))["reason"] == "MalformedAnnotation"
        await cluster.set_annotation(key, json.dumps({"X-Mine": "1"}))
        assert (await cluster.virtual_service())["spec"]["http"][0]["headers"]["request"]["set"] == {"X-Mine": "1"}
        assert await cluster.condition("AnnotationsValid") == {}


async def test_somebody_elses_service_of_the_name_is_not_touched_and_named_in_a_condition() -> None:
    cluster = Cluster(PLAIN)
    spec = {"ports": [{"port": 1}], "selector": {"app": "theirs"}}
    await cluster.client.create(Service, {"metadata": {"name": "nb"}, "spec": spec}, NAMESPACE)
    async with cluster.operator():
        await cluster.create(a_notebook())
        assert (await cluster.condition("ChildrenOwned"))["reason"] == "NameTaken"
        assert (await cluster.service()).raw["spec"]["selector"] == {"app": "theirs"}


async def test_what_a_deleted_notebook_left_behind_belongs_to_the_next_of_its_name() -> None:
    cluster = Cluster(NotebookSettings(use_istio=True))
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.client.delete(NOTEBOOKS, "nb", NAMESPACE, propagation=Propagation.ORPHAN)
        await cluster.rest()
        assert (await cluster.stateful_set())["metadata"].get("ownerReferences", []) == []
        await cluster.create(a_notebook(image="jupyter:2"))
        children = [await cluster.stateful_set(), (await cluster.service()).raw, await cluster.virtual_service()]
        uid = (await cluster.notebook())["metadata"]["uid"]
        assert [child["metadata"]["ownerReferences"][0]["uid"] for child in children] == [uid] * 3
        assert children[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "jupyter:2"
        assert (await cluster.status())["conditions"] == []


async def test_a_selector_that_somebody_narrows_is_set_right_for_else_the_page_is_gone() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.client.patch(Service, "nb", NAMESPACE, {"spec": {"selector": {"track": "canary"}}})
        await cluster.rest()
        assert (await cluster.service()).raw["spec"]["selector"] == {"statefulset": "nb"}


async def test_a_change_that_the_api_server_refuses_is_said_while_the_server_runs_on() -> None:
    cluster = Cluster(PLAIN)
    async with cluster.operator():
        await cluster.create(a_notebook())
        await cluster.pod_runs()
        mounts = [{"name": "data", "mountPath": "/data"}]
        container = {"name": "nb", "image": "jupyter:1", "volumeMounts": mounts}
        change = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await cluster.client.patch(NOTEBOOKS, "nb", NAMESPACE, change)
        await cluster.rest()
        condition = await cluster.condition("ChildrenWritten")
        assert (condition["reason"], "data" in condition["message"]) == ("FailedUpdate", True)
        assert (await cluster.status())["readyReplicas"] == 1
        assert (await cluster.condition("Ready"))["status"] == "True"
        change = {"spec": {"template": {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}}}
        await cluster.client.patch(NOTEBOOKS, "nb", NAMESPACE, change)
        await cluster.rest(60)
        assert await cluster.condition("ChildrenWritten") == {}

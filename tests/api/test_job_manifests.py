"""Manifests pass through the models without loss, and what is wrong with one is told by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfcore.api.codec import decode, dump, encode, load
from kfcore.api.meta import Manifest
from kfcore.api.validation import validate
from kfcore_pytorch import PyTorchJob

text = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text, children, max_size=3),
    max_leaves=8,
)
labels = st.dictionaries(text, text, max_size=3)


def fields(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Manifest]:
    """Some of the known fields, and unknown ones beside them."""
    unknown = st.dictionaries(text.map(lambda name: f"x-{name}"), json_values, max_size=2)
    return st.tuples(unknown, st.fixed_dictionaries({}, optional=known)).map(lambda parts: {**parts[0], **parts[1]})


def with_fields(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    parts = st.tuples(st.fixed_dictionaries(required), fields(optional))
    return parts.map(lambda pair: {**pair[1], **pair[0]})


int32 = st.integers(-(2**31), 2**31 - 1)
container = with_fields(
    {"name": st.text(min_size=1, max_size=5)},
    {"image": text, "command": st.lists(text, max_size=2), "ports": st.just([])},
)
template = fields(
    {
        "metadata": fields({"labels": labels, "annotations": labels}),
        "spec": with_fields({"containers": st.lists(container, max_size=2)}, {"nodeSelector": labels}),
    }
)
replica = fields({"replicas": int32, "template": template, "restartPolicy": st.sampled_from(["Always", "ExitCode"])})
run_policy = fields(
    {
        "cleanPodPolicy": st.sampled_from(["All", "None"]),
        "suspend": st.booleans(),
        "schedulingPolicy": fields({"minResources": st.dictionaries(text, st.integers() | text, max_size=2)}),
    }
)
condition = with_fields(
    {"type": text, "status": text}, {"lastUpdateTime": st.just("2024-01-31T09:30:00Z"), "message": text}
)
manifests = with_fields(
    {
        "apiVersion": st.just("kubeflow.org/v1"),
        "kind": st.just("PyTorchJob"),
        "spec": with_fields(
            {"pytorchReplicaSpecs": st.dictionaries(st.sampled_from(["Master", "Worker"]), replica, max_size=2)},
            {"runPolicy": run_policy, "elasticPolicy": fields({"minReplicas": int32, "rdzvId": text})},
        ),
    },
    {
        "metadata": fields({"name": text, "labels": labels, "creationTimestamp": st.just("2024-01-31T09:30:00Z")}),
        "status": fields({"conditions": st.lists(condition, max_size=2), "startTime": st.just("2024-01-31T09:30:00Z")}),
    },
)


@settings(max_examples=60)
@given(manifests)
def test_a_manifest_comes_out_as_it_went_in(manifest: Manifest) -> None:
    job = load(PyTorchJob, manifest)
    assert dump(job) == manifest
    assert load(PyTorchJob, dump(job)) == job
    assert decode(PyTorchJob, encode(job)) == job


def test_a_pod_template_keeps_the_order_of_its_fields() -> None:
    template = {"zone": 1, "spec": {"volumes": [], "containers": [{"name": "c", "zzz": 1, "image": "i", "aaa": None}]}}
    job = load(PyTorchJob, a_job(Master={"template": template}))
    kept = dump(job)["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    assert list(kept) == ["zone", "spec"]
    assert list(kept["spec"]["containers"][0]) == ["name", "zzz", "image", "aaa"]


def a_job(**replica_specs: Any) -> Manifest:
    spec = {"pytorchReplicaSpecs": replica_specs}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "job"}, "spec": spec}


def replicas(**fields: Any) -> Manifest:
    return {"template": {"spec": {"containers": [{"name": "pytorch", "image": "i"}]}}, **fields}


def test_replica_types_are_taken_in_any_case() -> None:
    job = load(PyTorchJob, a_job(MASTER=replicas(), worker=replicas(replicas=2)))
    assert sorted(job.spec.replica_specs) == ["Master", "Worker"]
    assert validate(PyTorchJob, a_job(MASTER=replicas(), worker=replicas(replicas=2))) == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            a_job(Worker=replicas(replicas="two")),
            'spec.pytorchReplicaSpecs.Worker.replicas: expected an integer, found "two"',
        ),
        (
            a_job(Worker={"template": {"spec": {"containers": {}}}}),
            "spec.pytorchReplicaSpecs.Worker.template.spec.containers: expected a list, found {}",
        ),
        (
            a_job(Wroker=replicas()),
            'spec.pytorchReplicaSpecs.Wroker: unknown replica type "Wroker": expected one of Master, Worker',
        ),
        (
            a_job(Worker=replicas(restartPolicy="Sometimes")),
            "spec.pytorchReplicaSpecs.Worker.restartPolicy: expected one of Always, OnFailure, Never, ExitCode, "
            'found "Sometimes"',
        ),
        (
            a_job(Worker={"template": {"spec": {"containers": [{"name": "pytorch", "image": "i", "command": "x"}]}}}),
            'spec.pytorchReplicaSpecs.Worker.template.spec.containers[0].command: expected a list, found "x"',
        ),
        (
            a_job(Worker={"template": {"spec": {"containers": [{"name": "other", "image": "i"}]}}}),
            "spec.pytorchReplicaSpecs.Worker.template.spec.containers: expected a container named pytorch",
        ),
        (
            a_job(Master=replicas(replicas=2)),
            "spec.pytorchReplicaSpecs.Master.replicas: expected 1, as there must be only one master, found 2",
        ),
        (
            {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "job"}, "spec": {}},
            "spec.pytorchReplicaSpecs: required, but missing",
        ),
    ],
)
def test_what_is_wrong_is_told_by_field(manifest: Manifest, message: str) -> None:
    assert [str(error) for error in validate(PyTorchJob, manifest)] == [message]


def test_a_job_whose_replicas_names_would_be_too_long_is_refused() -> None:
    manifest = a_job(Worker=replicas(replicas=1000))
    manifest["metadata"]["name"] = "j" * 53
    assert "too long by 1" in str(validate(PyTorchJob, manifest)[0])

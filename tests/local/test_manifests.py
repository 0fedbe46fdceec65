"""Files to documents, and what is said of those that hold something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfcore_local.manifests import BadInput, Document, parse, read_files
from kfcore_local.validation import KnownKinds, validate
from kfcore_pytorch import PyTorchJob

JOB = "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata: {name: digits}\n"


def documents_of(text: str) -> list[Document]:
    return parse(text.encode(), "job.yaml", Path("/somewhere"))


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        documents_of(text)
    return caught.value.problems


def test_every_document_of_a_file_is_read_and_empty_ones_are_skipped() -> None:
    first, second = documents_of(f"---\n{JOB}---\n---\n{JOB.replace('digits', 'other')}---\n# nothing more\n")
    assert (first.number, first.name, first.namespace) == (1, "digits", "default")
    assert (second.number, second.name) == (3, "other")


def test_dates_stay_text_and_keys_become_text() -> None:
    (document,) = documents_of(f"{JOB}data:\n  day: 2024-01-31\n  8080: port\n  true: 1\n")
    assert document.manifest["data"] == {"day": "2024-01-31", "8080": "port", "true": 1}


def test_anchors_and_merge_keys_are_resolved() -> None:
    (document,) = documents_of(f"{JOB}a: &a {{x: 1}}\nb: {{<<: *a, y: 2}}\n")
    assert document.manifest["b"] == {"x": 1, "y": 2}


def test_json_is_yaml() -> None:
    (document,) = documents_of('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}')
    assert document.kind == "ConfigMap"


def test_a_problem_names_the_line_of_its_field_or_of_what_should_hold_it() -> None:
    (document,) = documents_of(f"{JOB}spec:\n  replicas:\n    - image: x\n")
    assert document.problem(("spec", "replicas", 0, "image"), "no") == (
        "job.yaml:6: document 1: spec.replicas[0].image: no"
    )
    assert document.problem(("spec", "policy", "limit"), "no") == "job.yaml:4: document 1: spec.policy.limit: no"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1, 2\nb: 3\n", "job.yaml:2:2: is not valid YAML: expected ',' or ']', but got ':'"),
        ("a:\n\t- b\n", "job.yaml:2:1: is not valid YAML: found character '\\t' that cannot start any token"),
        ("", "job.yaml: holds no document; expected a manifest"),
        ("# only a comment\n---\n", "job.yaml: holds no document; expected a manifest"),
        ("- a\n- b\n", "job.yaml:1: document 1: expected a manifest (a mapping with apiVersion and kind)"),
        ("just text\n", 'found "just text"'),
        (
            f"{JOB}kind: TFJob\n",
            "job.yaml:4: document 1: kind: is there twice, first on line 2; expected each key once",
        ),
        (f"{JOB}spec:\n  a: 1\n  b: 2\n  a: 3\n", "job.yaml:7: document 1: spec.a: is there twice, first on line 5"),
        (f"{JOB}spec: &s\n  a: *s\n", "document 1: spec.a: contains itself"),
        (f"{JOB}? [a, b]\n: 1\n", "document 1: expected text as a key, found a list (line 4)"),
        ("kind: PyTorchJob\nmetadata: {name: a}\n", "apiVersion: expected text such as kubeflow.org/v1, found nothing"),
        ("apiVersion: v1\nkind: 3\nmetadata: {name: a}\n", "kind: expected text such as PyTorchJob, found 3"),
        ("apiVersion: v1\nkind: Pod\n", "metadata: expected a mapping with a name, found nothing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {labels: {}}\n", "metadata.name: expected text, found nothing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "metadata.name: expected text, found 7"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "metadata.name: expected a name; generateName"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: [b]}\n", "metadata.namespace: expected text"),
        ("a: !!python/object:os.system {}\n", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_a_bad_document_is_refused_with_its_place_and_what_was_expected(text: str, problem: str) -> None:
    assert problem in problems_of(text)[0]


def test_all_problems_of_all_documents_are_told_at_once() -> None:
    assert len(problems_of("kind: Pod\n---\n- 1\n---\na: [\n")) == 4


def test_a_file_that_is_not_text_is_refused() -> None:
    with pytest.raises(BadInput, match=r"job\.yaml: is not a text file: byte 2 is not UTF-8"):
        parse(b"a:\xff\xfe", "job.yaml", Path("/"))


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_files([str(tmp_path / "job.yaml"), str(tmp_path)])
    assert caught.value.problems == (
        f"{tmp_path}/job.yaml: no such file",
        f"{tmp_path}: is a directory; name the files in it, such as {tmp_path}/*.yaml",
    )


def test_the_same_object_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(JOB)
    (tmp_path / "b.yaml").write_text(f"{JOB}---\n{JOB.replace('digits', 'digits, namespace: other')}")
    with pytest.raises(BadInput, match=r"PyTorchJob default/digits is there already, in document 1 of .*a\.yaml"):
        read_files([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])


def test_what_tools_write_into_the_metadata_of_a_template_is_in_nobody_s_way() -> None:
    containers = "[{name: pytorch, image: i, command: [env], ports: [{containerPort: 1, hostPort: 2}]}]"
    template = f"{{metadata: {{creationTimestamp: null}}, spec: {{containers: {containers}}}}}"
    documents = documents_of(f"{JOB}spec: {{pytorchReplicaSpecs: {{Master: {{template: {template}}}}}}}")
    validate(documents, KnownKinds({("kubeflow.org/v1", "PyTorchJob"): PyTorchJob}, ()))

"""What is said to requests that cannot be done: bodies, names, options and media types, in the real server's words."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import APPLY, JSON_PATCH, MERGE, NAMESPACE, STRATEGIC, Conversation

from kfcore.apiserver.go_json import syntax_error
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

MAPS = f"{NAMESPACE}/configmaps"
A = f"{MAPS}/a"
UNREGISTERED = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'


@pytest.fixture
async def ask() -> Conversation:
    ask = Conversation(ApiServer(clock=FakeClock()))
    await ask.created(MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}})
    return ask


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "unexpected end of JSON input"),
        ("{not", "invalid character 'n' looking for beginning of object key string"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ('"\\q"', "invalid character 'q' in string escape code"),
        ('"\\u12g"', "invalid character 'g' in \\u hexadecimal character escape"),
        ('"\t"', "invalid character '\\t' in string literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("\x81", "invalid character 'Â' looking for beginning of value"),
        ('{"a": [true, null, -1.5e3, "é"]}', ""),
    ],
)
def test_what_is_not_json_is_told_in_the_words_of_gos_decoder(body: str, error: str) -> None:
    assert syntax_error(body.encode()) == error


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            b'{"kind": "ConfigMap", "metadata": x}',
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
            "error: invalid character 'x' looking for beginning of value ({\"kind\": \"ConfigMap\", \"metadat ...)",
        ),
        (
            b"",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse "
            "error: unexpected end of JSON input (<empty>)",
        ),
        ({"kind": "Pod"}, 'Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to '
                          "(core.ConfigMap): unknown conversion"),
        ({"kind": "X", "apiVersion": "y/v2"}, f'X in version "v2" cannot be handled as a ConfigMap: no kind "X" is '
                                              f'registered for version "y/v2" {UNREGISTERED}'),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_object_of_the_kind_is_refused(ask: Conversation, body: Any, why: str) -> None:
    assert await ask.refusal("POST", MAPS, body) == f"400 {why}"


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "the name of the object (a based on URL) was undeterminable: name must be provided"),
        ({"name": "b"}, "the name of the object (b) does not match the name on the URL (a)"),
        (
            {"name": "a", "namespace": "z"},
            "the namespace of the object (z) does not match the namespace on the request (default)",
        ),
    ],
)
async def test_an_update_of_another_object_than_the_urls_is_refused(
    ask: Conversation, metadata: dict[str, str], why: str
) -> None:
    assert await ask.refusal("PUT", A, {"metadata": metadata}) == f"400 {why}"


async def test_a_patch_cannot_take_the_name_away_and_need_not_keep_the_namespace(ask: Conversation) -> None:
    expected = "400 the name of the object (a based on URL) was undeterminable: name must be provided"
    assert await ask.refusal("PATCH", A, {"metadata": None}, MERGE) == expected
    assert await ask.refusal("PATCH", A, [{"op": "remove", "path": "/metadata/name"}], JSON_PATCH) == expected
    status, answer = await ask("PATCH", A, {"metadata": {"namespace": None}}, MERGE)
    assert (status, answer["metadata"]["namespace"]) == (200, "default")


async def test_objects_of_a_kind_without_namespaces_lose_the_one_that_they_name(ask: Conversation) -> None:
    made = await ask.created("/api/v1/namespaces", {"metadata": {"name": "n", "namespace": "somewhere"}})
    assert "namespace" not in made["metadata"]


@pytest.mark.parametrize(
    ("patch", "type_", "why"),
    [
        ({"data": {"x": 1}}, MERGE, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ({"kind": "Pod"}, MERGE, "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        ({"data": []}, STRATEGIC, "json: cannot unmarshal array into Go struct field ConfigMap.data of type "
                                  "map[string]string"),
        ([{"op": "add", "path": "/apiVersion", "value": "v9"}], JSON_PATCH,
         f'no kind "ConfigMap" is registered for version "v9" {UNREGISTERED}'),
    ],
)  # fmt: skip
async def test_a_patch_after_which_the_object_cannot_be_read_is_invalid(
    ask: Conversation, patch: Any, type_: str, why: str
) -> None:
    status, answer = await ask("PATCH", A, patch, type_)
    assert (status, answer["reason"], answer["details"]["causes"][0]["field"]) == (422, "Invalid", "patch")
    assert answer["message"].startswith(' "" is invalid: patch: Invalid value: "')
    assert answer["message"].endswith(why)


@pytest.mark.parametrize(
    ("patch", "type_", "why"),
    [
        ({"colour": "red"}, MERGE, 'unknown field "colour"'),
        ({"colour": "red"}, STRATEGIC, 'unknown field "colour"'),
        (b'{"data": {"x": "1", "x": "2"}}', MERGE, 'duplicate field "data.x"'),
        ([{"op": "remove", "path": "/data/x", "why": ""}], JSON_PATCH, 'json patch unknown field "[0].why"'),
    ],
)
async def test_strictness_makes_a_patch_invalid(ask: Conversation, patch: Any, type_: str, why: str) -> None:
    refused = await ask.refusal("PATCH", f"{A}?fieldValidation=Strict", patch, type_)
    assert refused.startswith("422 ")
    assert refused.endswith(f"strict decoding error: {why}")


async def test_a_strict_apply_says_nothing_twice(ask: Conversation) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  x: one\n  x: two\n"
    path = f"{A}?fieldManager=m&force=1"
    assert await ask.refusal("PATCH", f"{path}&fieldValidation=Strict", body, APPLY) == (
        "400 error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 5: key "x" already set in map'
    )
    assert (await ask("PATCH", path, body, APPLY))[1]["data"] == {"x": "two"}


@pytest.mark.parametrize(
    ("method", "query", "why"),
    [
        ("PATCH", "force=true", "force: Forbidden: may not be specified for non-apply patch"),
        ("PATCH", f"fieldManager={'m' * 129}", "fieldManager: Too long: may not be more than 128 bytes"),
        ("PUT", "fieldManager=a\x01",
         'fieldManager: Invalid value: "a\\u0001": invalid character U+0001 (at position 1)'),
        ("PUT", "fieldValidation=No",
         'fieldValidation: Unsupported value: "No": supported values: "", "Ignore", "Strict", "Warn"'),
        ("PUT", "dryRun=No", 'dryRun: Unsupported value: "No": supported values: "All"'),
        ("PUT", "dryRun=No&fieldValidation=No",
         '[dryRun: Unsupported value: "No": supported values: "All", fieldValidation: Unsupported value: "No": '
         'supported values: "", "Ignore", "Strict", "Warn"]'),
    ],
)  # fmt: skip
async def test_options_of_a_write_have_rules(ask: Conversation, method: str, query: str, why: str) -> None:
    kind = {"PATCH": "PatchOptions", "PUT": "UpdateOptions"}[method]
    type_ = MERGE if method == "PATCH" else "application/json"
    refused = await ask.refusal(method, f"{A}?{query}", {"metadata": {"name": "a"}}, type_)
    assert refused == f'422 {kind}.meta.k8s.io "" is invalid: {why}'


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"name": "b", "generateName": "B"}, 'metadata.generateName: Invalid value: "B": a lowercase RFC 1123'),
        ({"name": "b", "finalizers": ["orphan", "foregroundDeletion"]},
         'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion '
         "cannot be both set"),
        ({"name": "b", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]},
         'metadata.ownerReferences[0]: Invalid value: {"apiVersion":"v1","kind":"Event","name":"e","uid":"u"}: /v1, '
         "Kind=Event is disallowed from being an owner"),
        ({"name": "b", "annotations": {"a": "é" * 131072}},
         "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ],
)  # fmt: skip
async def test_metadata_has_rules(ask: Conversation, metadata: dict[str, Any], why: str) -> None:
    assert (await ask.refusal("POST", MAPS, {"metadata": metadata})).startswith(f'422 ConfigMap "b" is invalid: {why}')


async def test_nobody_but_a_delete_sets_the_time_of_a_deletion(ask: Conversation) -> None:
    body = {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}
    assert await ask.refusal("PATCH", A, body, MERGE) == (
        '422 ConfigMap "a" is invalid: metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is '
        "immutable"
    )


@pytest.mark.parametrize(
    ("accept", "path", "why"),
    [
        ("text/html", A, "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, "
                         "application/vnd.kubernetes.protobuf"),
        ("application/json;as=X;g=meta.k8s.io;v=v1", A, "only the following media types are accepted: "
         "application/json, application/yaml, application/vnd.kubernetes.protobuf"),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", MAPS,
         "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", A,
         "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"),
    ],
)  # fmt: skip
async def test_a_form_that_there_is_not_is_not_acceptable(ask: Conversation, accept: str, path: str, why: str) -> None:
    status, answer = await ask("GET", path, accept=accept)
    assert (status, answer["reason"], answer["message"]) == (406, "NotAcceptable", why)


async def test_nothing_is_written_where_the_answer_would_not_be_acceptable(ask: Conversation) -> None:
    assert (await ask("POST", MAPS, {"metadata": {"name": "b"}}, accept="text/html"))[0] == 406
    assert (await ask("GET", f"{MAPS}/b"))[0] == 404


async def test_older_clients_get_tables_of_their_version(ask: Conversation) -> None:
    _, table = await ask("GET", A, accept="application/json;as=Table;g=meta.k8s.io;v=v1beta1")
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1beta1")


async def test_a_dry_delete_answers_as_the_delete_would(ask: Conversation) -> None:
    status, answer = await ask("DELETE", f"{A}?dryRun=All")
    assert (status, answer["kind"], answer["status"]) == (200, "Status", "Success")
    assert (await ask("GET", A))[0] == 200


async def test_discovery_is_for_reading(ask: Conversation) -> None:
    for path in ("/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"):
        assert (await ask("POST", path))[0] == 405
    assert "/apis/apps/v1" in (await ask("GET", "/"))[1]["paths"]


@pytest.mark.parametrize(
    ("path", "metadata", "times"),
    [
        (A, {"labels": {"a b": ""}}, 4),
        (A, {"annotations": {"a b": ""}}, 4),
        (A, {"finalizers": ["a b/c"]}, 2),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases/l", {"labels": {"a b": ""}}, 3),
    ],
)
async def test_what_is_wrong_with_the_metadata_of_an_update_is_told_as_often_as_it_is_found(
    ask: Conversation, path: str, metadata: dict[str, Any], times: int
) -> None:
    await ask.created("/apis/coordination.k8s.io/v1/namespaces/default/leases", {"metadata": {"name": "l"}})
    status, answer = await ask("PATCH", path, {"metadata": metadata}, MERGE)
    causes = answer["details"]["causes"]
    assert (status, len(causes), len({cause["message"] for cause in causes})) == (422, times, 1)
    assert answer["message"].count("Invalid value") == 1


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"$retainKeys": "labels"}, "invalid patch format of retainKeys"),
        ({"$setElementOrder/finalizers": "x"}, "invalid patch format of setElementOrder list"),
        ({"$deleteFromPrimitiveList/finalizers": "x"}, "invalid patch format of primitive list"),
        (
            {"$setElementOrder/finalizers": ["a.b/c"], "finalizers": ["d.e/f"]},
            "The order in patch list:\n[d.e/f]\n doesn't match $setElementOrder list:\n[a.b/c]\n",
        ),
    ],
)
async def test_a_directive_of_another_form_is_refused(ask: Conversation, metadata: dict[str, Any], why: str) -> None:
    assert await ask.refusal("PATCH", A, {"metadata": metadata}, STRATEGIC) == f"400 {why}"


async def test_a_test_of_a_json_patch_compares_values_as_they_are_written(ask: Conversation) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
    await ask.created(f"{NAMESPACE}/services", service)
    for value, status in ((1, 200), (1.0, 422), (True, 422), ("1", 422)):
        test = [{"op": "test", "path": "/spec/ports/0/port", "value": value}]
        assert (await ask("PATCH", f"{NAMESPACE}/services/s", test, JSON_PATCH))[0] == status

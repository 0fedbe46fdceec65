"""What a client learns about the API before it uses it: version, health, kinds and their schemas."""

from __future__ import annotations

from typing import Any

import pytest

from kfcore.api.codec import decode_json
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What is wanted.",
                                "properties": {"size": {"type": "integer"}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


async def get(server: ApiServer, path: str, accept: str = "application/json", **query: str) -> Response:
    return await server.handle(Request("GET", path, query, {"accept": accept, "host": "127.0.0.1:6443"}))


async def body(server: ApiServer, path: str, accept: str = "application/json", **query: str) -> Any:
    response = await get(server, path, accept, **query)
    assert response.status == 200
    assert isinstance(response.body, bytes)
    return decode_json(response.body)


async def test_the_version_is_that_of_the_api_and_says_that_it_is_kfcore() -> None:
    version = await body(ApiServer(), "/version")
    assert (version["major"], version["minor"]) == ("1", "36")
    assert "kfcore" in version["gitVersion"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping"])
async def test_health_is_ok(path: str) -> None:
    response = await get(ApiServer(), path)
    assert (response.status, response.body) == (200, b"ok")


async def test_the_core_group_lists_pods_with_their_subresources() -> None:
    assert (await body(ApiServer(), "/api"))["versions"] == ["v1"]
    listed = await body(ApiServer(), "/api/v1")
    by_name = {entry["name"]: entry for entry in listed["resources"]}
    assert by_name["pods"]["shortNames"] == ["po"]
    assert by_name["pods/log"]["verbs"] == ["get"]
    assert by_name["pods/eviction"]["group"] == "policy"
    assert by_name["nodes"]["namespaced"] is False


async def test_a_group_names_its_versions_and_the_preferred_one() -> None:
    listed = await body(ApiServer(), "/apis")
    assert "apps" in [group["name"] for group in listed["groups"]]
    group = await body(ApiServer(), "/apis/apps")
    assert group["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert (await get(ApiServer(), "/apis/nobody.example.com")).status == 404
    assert (await get(ApiServer(), "/apis/apps/v9")).status == 404


async def test_aggregated_discovery_holds_what_the_classic_form_holds() -> None:
    server = ApiServer()
    response = await get(server, "/apis", f"{AGGREGATED},application/json")
    assert response.headers["content-type"] == AGGREGATED
    items = (await body(server, "/apis", AGGREGATED))["items"] + (await body(server, "/api", AGGREGATED))["items"]
    for item in items:
        group = item["metadata"].get("name", "")
        for version in item["versions"]:
            path = f"/apis/{group}/{version['version']}" if group else f"/api/{version['version']}"
            classic = {entry["name"] for entry in (await body(server, path))["resources"]}
            names = {entry["resource"] for entry in version["resources"]}
            names |= {
                f"{e['resource']}/{s['subresource']}" for e in version["resources"] for s in e.get("subresources", [])
            }
            assert names == classic


async def test_an_older_client_gets_the_beta_form_of_aggregated_discovery() -> None:
    older = AGGREGATED.replace("v=v2", "v=v2beta1")
    assert (await body(ApiServer(), "/apis", older))["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


async def test_a_custom_kind_is_discovered_once_its_crd_is_installed() -> None:
    server = ApiServer()
    server.install_crd(WIDGETS)
    (widgets, status) = (await body(server, "/apis/example.com/v1"))["resources"]
    assert (widgets["name"], widgets["shortNames"], widgets["categories"]) == ("widgets", ["wd"], ["all"])
    assert status["name"] == "widgets/status"


async def test_openapi_tells_kubectl_to_leave_validation_to_the_server() -> None:
    server = ApiServer()
    server.install_crd(WIDGETS)
    index = (await body(server, "/openapi/v3"))["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/example.com/v1"} <= set(index)
    for place, path in (
        ("api/v1", "/api/v1/namespaces/{namespace}/pods/{name}"),
        ("apis/example.com/v1", "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"),
    ):
        document = await body(server, f"/openapi/v3/{place}")
        patch = document["paths"][path]["patch"]
        assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]


async def test_openapi_describes_the_fields_of_built_in_and_custom_kinds() -> None:
    server = ApiServer()
    server.install_crd(WIDGETS)
    core = (await body(server, "/openapi/v3/api/v1"))["components"]["schemas"]
    assert core["io.k8s.v1.Container"]["required"] == ["name"]
    assert "Entrypoint" in core["io.k8s.v1.Container"]["properties"]["command"]["description"]
    custom = (await body(server, "/openapi/v3/apis/example.com/v1"))["components"]["schemas"]
    assert custom["com.example.v1.Widget"]["properties"]["spec"]["description"] == "What is wanted."


async def test_every_schema_that_openapi_refers_to_is_in_the_document() -> None:
    server = ApiServer()
    for place in (await body(server, "/openapi/v3"))["paths"]:
        document = await body(server, f"/openapi/v3/{place}")
        schemas = document["components"]["schemas"]
        for reference in _references(document):
            assert reference.removeprefix("#/components/schemas/") in schemas, (place, reference)


async def test_an_openapi_document_may_be_kept_until_its_crd_changes() -> None:
    server = ApiServer()
    server.install_crd(WIDGETS)
    before = (await body(server, "/openapi/v3"))["paths"]
    path, _, digest = before["apis/example.com/v1"]["serverRelativeURL"].partition("?hash=")
    assert "immutable" in (await get(server, path, hash=digest)).headers["cache-control"]
    changed = {**WIDGETS, "spec": {**WIDGETS["spec"], "names": {**WIDGETS["spec"]["names"]}}}  # type: ignore[dict-item]
    changed["spec"]["versions"] = [  # type: ignore[index]
        {**WIDGETS["spec"]["versions"][0], "schema": {"openAPIV3Schema": {"type": "object"}}}  # type: ignore[index]
    ]
    server.install_crd(changed)
    after = (await body(server, "/openapi/v3"))["paths"]
    assert after["apis/example.com/v1"] != before["apis/example.com/v1"]
    assert after["apis/apps/v1"] == before["apis/apps/v1"]


async def test_the_older_openapi_document_has_every_kind_and_how_its_lists_merge() -> None:
    server = ApiServer()
    server.install_crd(WIDGETS)
    document = await body(server, "/openapi/v2")
    definitions = document["definitions"]
    for reference in _references(document):
        assert reference.removeprefix("#/definitions/") in definitions, reference
    containers = definitions["io.k8s.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["consumes"]
    assert {"dryRun", "fieldValidation"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"]["kind"] == "Widget"
    assert definitions["com.example.v1.Widget"]["properties"]["spec"]["description"] == "What is wanted."


async def test_the_older_openapi_document_is_made_anew_when_kinds_change_only() -> None:
    server = ApiServer()
    first = (await get(server, "/openapi/v2")).headers["etag"]
    assert (await get(server, "/openapi/v2")).headers["etag"] == first
    server.install_crd(WIDGETS)
    assert "Widget" in str((await body(server, "/openapi/v2"))["definitions"].keys())


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [reference for child in value.values() for reference in _references(child)]
    if isinstance(value, list):
        return [reference for child in value for reference in _references(child)]
    return []

"""Whatever is sent, the answer is a Status that says what was wrong: never an exception, never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fuzzing import Fuzzer
from hypothesis import given, settings
from hypothesis import strategies as st

from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

WIDGET_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"replicas": {"type": "integer"}},
                                "x-kubernetes-validations": [{"rule": "!has(self.replicas) || self.replicas < 10"}],
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}  # fmt: skip
SEEDS: dict[str, Any] = {
    "/api/v1/namespaces/default/pods": {
        "metadata": {"name": "p", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u", "controller": True}]},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": 1}},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "livenessProbe": {"httpGet": {"port": 80}},
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "k"}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready"}], "containerStatuses": [{"name": "c"}]},
    },
    "/api/v1/namespaces/default/services": {
        "metadata": {"name": "s"},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]},
    },
    "/api/v1/namespaces/default/secrets": {"metadata": {"name": "s"}, "data": {"a": "Yg=="}, "stringData": {"c": "d"}},
    "/api/v1/namespaces/default/events": {
        "metadata": {"name": "e"},
        "involvedObject": {"namespace": "default"},
        "source": {"component": "x"},
    },
    "/apis/apps/v1/namespaces/default/deployments": {
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 1,
            "strategy": {"rollingUpdate": {"maxSurge": 1}},
            "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    },
    "/apis/batch/v1/namespaces/default/jobs": {
        "metadata": {"name": "j"},
        "spec": {
            "completions": 1,
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
            },
        },
    },
    "/apis/batch/v1/namespaces/default/cronjobs": {
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "* * * * *",
            "jobTemplate": {
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
            },
        },
    },
    "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers": {
        "metadata": {"name": "h", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[]"}},
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
    },
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": {
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 2,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 1}}}],
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]}},
        },
    },
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {
        "metadata": {"name": "i"},
        "spec": {
            "defaultBackend": {"service": {"name": "s", "port": {"number": 1}}},
            "rules": [
                {
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "s", "port": {"number": 1}}},
                            }
                        ]
                    }
                }
            ],
        },
    },
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies": {
        "metadata": {"name": "n"},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}]},
    },
    "/api/v1/namespaces/default/persistentvolumeclaims": {
        "metadata": {"name": "p"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
    "/apis/apps/v1/namespaces/default/statefulsets": {
        "metadata": {"name": "s"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        },
    },
    "/apis/coordination.k8s.io/v1/namespaces/default/leases": {
        "metadata": {"name": "l"},
        "spec": {"leaseDurationSeconds": 3},
    },
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings": {
        "metadata": {"name": "b"},
        "subjects": [{"kind": "User", "name": "u"}],
        "roleRef": {"kind": "Role", "name": "r"},
    },
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": {"spec": {"resourceAttributes": {"verb": "get"}}},
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": WIDGET_CRD,
    "/apis/example.com/v1/namespaces/default/widgets": {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"replicas": 1},
    },
}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just([1, "a", {}]),
    st.just({"a": None, "b": [1]}),
)
PATCHES = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def damaged(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    copy = json.loads(json.dumps(value))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = junk
    return copy


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, Any]:
    path = draw(st.sampled_from(sorted(SEEDS)))
    body = SEEDS[path]
    for _ in range(draw(st.integers(1, 2))):
        if remaining := places(body):
            body = damaged(body, draw(st.sampled_from(remaining)), draw(JUNK))
    return path, body


def a_server() -> ApiServer:
    server = ApiServer(clock=FakeClock(), seed=1)
    server.install_crd(json.loads(json.dumps(WIDGET_CRD)))
    return server


async def send(server: ApiServer, method: str, path: str, body: Any = None, **headers: str) -> Response:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    pairs = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
    headers = {"user-agent": "test", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return await server.handle(Request(method, path, pairs, headers, data))


def assert_answered(response: Response) -> None:
    assert response.status < 500, response.body
    if response.status >= 400:
        assert isinstance(response.body, bytes)
        assert json.loads(response.body)["kind"] == "Status"


@settings(max_examples=150)
@given(bodies(), st.sampled_from(PATCHES))
async def test_a_damaged_object_is_refused_or_stored_but_never_breaks_the_server(
    damage: tuple[str, Any], patch_type: str
) -> None:
    path, body = damage
    server = a_server()
    assert_answered(await send(server, "POST", path, SEEDS[path]))
    assert_answered(await send(server, "POST", path, body))
    name = SEEDS[path].get("metadata", {}).get("name", "x")
    assert_answered(await send(server, "PUT", f"{path}/{name}", body))
    query = "?fieldManager=m&force=true" if patch_type.endswith("yaml") else ""
    assert_answered(await send(server, "PATCH", f"{path}/{name}{query}", body, content_type=patch_type))
    assert_answered(await send(server, "PATCH", f"{path}/{name}/status{query}", body, content_type=patch_type))
    assert_answered(await send(server, "GET", path))
    assert_answered(await send(server, "DELETE", f"{path}/{name}", body))
    await server.close()


@settings(max_examples=100)
@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEIRD"]),
    st.text(max_size=20),
    st.sampled_from(["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "dryRun", "accept"]),
    st.text(max_size=12),
)
async def test_odd_paths_and_parameters_are_answered(method: str, tail: str, parameter: str, value: str) -> None:
    server = a_server()
    for path in (f"/api/v1/namespaces/default/pods/{tail}", f"/{tail}", "/api/v1/pods", f"/apis/{tail}/v1/x"):
        response = await server.handle(Request(method, path, {parameter: value}, {"accept": value}, b""))
        assert response.status in (504, *range(200, 500)), response.body
        close = getattr(response.body, "aclose", None)
        if close:
            await close()
    await server.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{not json", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"null", 422),
        (b"[" * 100_000, 400),
        (b" " * (3 * 1024 * 1024 + 1), 413),
    ],
)
async def test_a_body_that_is_no_object_is_refused(body: bytes, status: int) -> None:
    response = await send(a_server(), "POST", "/api/v1/namespaces/default/configmaps", body)
    assert response.status == status


async def test_null_is_an_empty_object_where_the_kind_is_known() -> None:
    answer = await send(a_server(), "POST", "/api/v1/namespaces/default/configmaps", b"null")
    why = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    assert json.loads(answer.body)["message"] == why


@pytest.mark.parametrize("offset", range(4))
async def test_an_object_without_a_kind_is_quoted_wherever_the_quotation_ends(offset: int) -> None:
    body = {"metadata": {"name": "p", "annotations": {"a": "x" * offset + "é" * 200}}}
    path = "/api/v1/namespaces/default/pods/p?fieldManager=m"
    answer = await send(a_server(), "PATCH", path, body, content_type="application/apply-patch+yaml")
    assert answer.status == 400
    assert b"is missing in" in answer.body


async def test_an_unknown_media_type_is_refused() -> None:
    response = await send(
        a_server(), "POST", "/api/v1/namespaces/default/configmaps", b"x", content_type="application/x-odd"
    )
    assert response.status == 415


async def test_strict_validation_names_the_unknown_field_of_a_patch() -> None:
    server = a_server()
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    await send(server, "POST", widgets, SEEDS[widgets])
    refused = await send(
        server, "PATCH", f"{widgets}/w?fieldValidation=Strict", {"spec": {"colour": "red"}}, content_type=PATCHES[0]
    )
    assert refused.status == 422
    assert b'unknown field \\"spec.colour\\"' in refused.body  # type: ignore[operator]


async def test_malformed_field_ownership_is_refused() -> None:
    body = {"metadata": {"name": "a", "managedFields": [{"manager": "m", "fieldsV1": {"f:data": 1}}]}}
    response = await send(a_server(), "POST", "/api/v1/namespaces/default/configmaps", body)
    assert response.status == 400


async def test_whoever_claims_all_metadata_cannot_apply_it_away() -> None:
    server = a_server()
    entry = {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    body = {"metadata": {"name": "a", "managedFields": [{**entry, "fieldsV1": {"f:metadata": {}}}]}}
    assert_answered(await send(server, "POST", "/api/v1/namespaces/default/configmaps", body))
    path = "/api/v1/namespaces/default/configmaps/a?fieldManager=m"
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert_answered(await send(server, "PATCH", path, apply, content_type="application/apply-patch+yaml"))


async def test_a_scale_with_odd_metadata_is_answered() -> None:
    server = a_server()
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    assert_answered(await send(server, "POST", widgets, SEEDS[widgets]))
    patch = [{"op": "add", "path": "/metadata", "value": True}]
    assert_answered(
        await send(server, "PATCH", f"{widgets}/w/scale", patch, content_type="application/json-patch+json")
    )


async def test_a_metric_without_a_type_is_shown() -> None:
    server = a_server()
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    spec = {"maxReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [{}]}
    assert_answered(await send(server, "POST", path, {"metadata": {"name": "h"}, "spec": spec}))
    assert_answered(await send(server, "GET", path, accept="application/json;as=Table;g=meta.k8s.io;v=v1"))


@pytest.mark.parametrize("seed", range(3))
async def test_requests_at_random_are_answered(seed: int) -> None:
    """`make fuzz` asks for five minutes."""
    fuzzer, server = Fuzzer(seed), a_server()
    for _ in range(1500):
        await fuzzer.ask(server)
    await server.close()
    assert not fuzzer.found
    assert {200, 201, 400, 404, 422} <= fuzzer.answers.keys()

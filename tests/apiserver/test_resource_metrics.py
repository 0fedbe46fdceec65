"""metrics.k8s.io: what `kubectl top` asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kfcore.apiserver.metrics import Measured
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClient, FakeClock

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "uid": "some-uid", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "main", "image": "i"}, {"name": "new", "image": "i"}]},
}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}}
PATH = "/apis/metrics.k8s.io/v1beta1"


def measured() -> Measured:
    return Measured(NOW, 10.0, {("some-uid", "main"): (0.25, 10 << 20)}, {"here": (1.5, 4 << 30)})


async def get(path: str, measures: Any = measured, **query: str) -> tuple[int, Any]:
    server = ApiServer(clock=FakeClock(), measures=measures)
    FakeClient(POD, NODE, server=server)
    response = await server.handle(Request("GET", path, query))
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


async def test_pods_and_nodes_have_what_they_use() -> None:
    _, pods = await get(f"{PATH}/namespaces/default/pods")
    assert pods["kind"] == "PodMetricsList"
    [pod] = pods["items"]
    assert (pod["metadata"]["name"], pod["window"], pod["timestamp"]) == ("p", "10.000s", "2026-05-01T12:00:00Z")
    assert pod["containers"] == [{"name": "main", "usage": {"cpu": "250000000n", "memory": "10240Ki"}}]
    _, node = await get(f"{PATH}/nodes/here")
    assert node["usage"] == {"cpu": "1500000000n", "memory": "4194304Ki"}


async def test_labels_select_and_what_was_not_measured_is_not_found() -> None:
    assert (await get(f"{PATH}/pods", labelSelector="app=web"))[1]["items"] != []
    assert (await get(f"{PATH}/pods", labelSelector="app=other"))[1]["items"] == []
    assert (await get(f"{PATH}/namespaces/default/pods/p", lambda: None))[0] == 404
    assert (await get(f"{PATH}/namespaces/default/pods/q"))[0] == 404


async def test_discovery_lists_it_where_somebody_measures_only() -> None:
    assert (await get(PATH))[1]["groupVersion"] == "metrics.k8s.io/v1beta1"
    server = ApiServer(clock=FakeClock())
    assert (await server.handle(Request("GET", PATH))).status == 404

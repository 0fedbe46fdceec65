"""What a new object gets by what else there is: a pod its priority, a claim its storage class."""

from __future__ import annotations

from typing import Any

import pytest

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import Forbidden
from kfcore.testing import FakeClient

POD = untyped(Pod.resource)
PRIORITY_CLASS = untyped(Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False))
CLAIM = untyped(Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"))


def a_priority_class(name: str, value: int, **fields: Any) -> Manifest:
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    return {**kind, "metadata": {"name": name}, "value": value, **fields}


def a_storage_class(name: str, *, default: bool) -> Manifest:
    annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    return {**kind, "metadata": {"name": name, "annotations": annotations}, "provisioner": "example.com/disks"}


async def priority_of(client: FakeClient, **spec: Any) -> tuple[str | None, int, str]:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}
    made = (await client.create(POD, body, "default")).raw["spec"]
    return made.get("priorityClassName"), made["priority"], made["preemptionPolicy"]


async def test_the_classes_of_the_systems_own_pods_are_there_and_stay() -> None:
    client = FakeClient()
    found = await client.list(PRIORITY_CLASS)
    assert {item.name: item.raw["value"] for item in found} == {
        "system-cluster-critical": 2_000_000_000,
        "system-node-critical": 2_000_001_000,
    }
    assert await priority_of(client, priorityClassName="system-node-critical") == (
        "system-node-critical",
        2_000_001_000,
        "PreemptLowerPriority",
    )
    with pytest.raises(Forbidden, match="this is a system priority class and cannot be deleted"):
        await client.delete(PRIORITY_CLASS, "system-node-critical")


async def test_a_pods_priority_is_that_of_its_class() -> None:
    client = FakeClient(a_priority_class("high", 1000, preemptionPolicy="Never"))
    assert await priority_of(client, priorityClassName="high") == ("high", 1000, "Never")


async def test_a_class_of_the_system_needs_no_object() -> None:
    client = FakeClient()
    assert (await priority_of(client, priorityClassName="system-node-critical"))[1] == 2000001000


async def test_a_pod_that_names_no_class_has_priority_zero_or_that_of_the_class_for_everybody() -> None:
    assert await priority_of(FakeClient()) == (None, 0, "PreemptLowerPriority")
    client = FakeClient(a_priority_class("usual", 7, globalDefault=True), a_priority_class("high", 1000))
    assert await priority_of(client) == ("usual", 7, "PreemptLowerPriority")


async def test_a_class_that_is_not_there_is_refused_and_so_is_a_number_that_is_not_its_own() -> None:
    client = FakeClient(a_priority_class("high", 1000))
    with pytest.raises(Forbidden, match='pods "p" is forbidden: no PriorityClass with name nobody was found'):
        await priority_of(client, priorityClassName="nobody")
    with pytest.raises(Forbidden, match=r"priority \(9\) must not be provided in pod spec"):
        await priority_of(client, priorityClassName="high", priority=9)


@pytest.mark.parametrize(
    ("asked", "given"), [({}, "fast"), ({"storageClassName": ""}, ""), ({"storageClassName": "x"}, "x")]
)
async def test_a_claim_that_names_no_class_gets_the_default_one(asked: Manifest, given: str) -> None:
    client = FakeClient(a_storage_class("slow", default=False), a_storage_class("fast", default=True))
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **asked}
    made = await client.create(CLAIM, {"metadata": {"name": "c"}, "spec": spec}, "default")
    assert made.raw["spec"]["storageClassName"] == given

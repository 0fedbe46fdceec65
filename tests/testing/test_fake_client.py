"""The client that unit tests of operators use."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from kfcore.api.core import Event, Pod, Service
from kfcore.api.meta import CustomResource, Manifest, Model, owner_reference
from kfcore.client.errors import AlreadyExists, Conflict, Invalid, NotFound
from kfcore.client.interface import Preconditions, Propagation
from kfcore.testing import FakeClient, settle


class BoxSpec(Model):
    size: int = 0


class Box(CustomResource, group="boxes.example.com", version="v1", kind="Box"):
    spec: BoxSpec


BOX_CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boxes.boxes.example.com"},
    "spec": {
        "group": "boxes.example.com",
        "scope": "Namespaced",
        "names": {"plural": "boxes", "kind": "Box"},
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
                            "spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 9}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def a_pod(name: str = "p", **metadata: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def a_box(size: int = 1) -> Manifest:
    return {
        "apiVersion": "boxes.example.com/v1",
        "kind": "Box",
        "metadata": {"name": "b"},
        "spec": {"size": size},
        "status": {"full": True},
    }


async def test_the_objects_given_are_there() -> None:
    client = FakeClient(a_pod(namespace="team"), BOX_CRD, a_box())
    assert (await client.get(Pod, "p", "team")).status.phase == "Pending"
    box = await client.get(Box, "b")
    assert box.spec.size == 1
    assert box.model_extra == {"status": {"full": True}}


async def test_uids_and_generated_names_repeat_from_run_to_run() -> None:
    async def run() -> tuple[str, str]:
        pod = await FakeClient().create(Pod, a_pod("", generateName="p-"))
        return pod.name, pod.metadata.uid

    assert await run() == await run()


async def test_calls_are_counted() -> None:
    client = FakeClient(a_pod())
    await client.get(Pod, "p")
    assert client.requests == [("GET", "/api/v1/namespaces/default/pods/p")]


async def test_refusals_are_typed() -> None:
    client = FakeClient(a_pod(), BOX_CRD)
    with pytest.raises(AlreadyExists):
        await client.create(Pod, a_pod())
    with pytest.raises(NotFound, match=r'pods "q" not found'):
        await client.get(Pod, "q")
    with pytest.raises(Invalid, match=r"spec.size in body should be less than or equal to 9"):
        await client.create(Box, a_box(size=10))
    with pytest.raises(Conflict):
        await client.delete(Pod, "p", preconditions=Preconditions(uid="another"))


async def test_an_update_from_a_stale_read_conflicts() -> None:
    client = FakeClient(BOX_CRD, a_box())
    first, second = await client.get(Box, "b"), await client.get(Box, "b")
    first.spec.size = 2
    updated = await client.update(first)
    assert updated.metadata.generation == 2
    with pytest.raises(Conflict):
        await client.update(second)


async def test_the_status_and_the_rest_are_written_apart() -> None:
    client = FakeClient(BOX_CRD, a_box())
    body = {"spec": {"size": 5}, "status": {"full": False}}
    box = await client.patch(Box, "b", "default", body, subresource="status")
    assert (box.spec.size, box.model_extra) == (1, {"status": {"full": False}})
    box = await client.patch(Box, "b", "default", {"spec": {"size": 5}, "status": {"full": True}})
    assert (box.spec.size, box.model_extra) == (5, {"status": {"full": False}})


async def test_a_patch_that_changes_nothing_keeps_the_version() -> None:
    client = FakeClient(a_pod(labels={"a": "b"}))
    before = await client.get(Pod, "p")
    after = await client.patch(Pod, "p", "default", {"metadata": {"labels": {"a": "b"}}})
    assert after.metadata.resource_version == before.metadata.resource_version


async def test_dependents_go_with_their_owner() -> None:
    client = FakeClient(BOX_CRD, a_box())
    box = await client.get(Box, "b")
    await client.create(Pod, a_pod(ownerReferences=[owner_reference(box)]))
    await client.delete(Box, "b")
    assert await client.list(Pod) == []


async def test_orphans_stay_and_lose_their_reference() -> None:
    client = FakeClient(BOX_CRD, a_box())
    box = await client.get(Box, "b")
    await client.create(Pod, a_pod(ownerReferences=[owner_reference(box)]))
    await client.delete(Box, "b", propagation=Propagation.ORPHAN)
    assert (await client.get(Pod, "p")).metadata.owner_references == []


async def test_a_foreground_deletion_waits_for_a_pod_that_still_runs() -> None:
    client = FakeClient(BOX_CRD, a_box())
    box = await client.get(Box, "b")
    pod = a_pod(ownerReferences=[owner_reference(box)])
    pod["spec"]["nodeName"] = "n"
    await client.create(Pod, pod)
    await client.delete(Box, "b", propagation=Propagation.FOREGROUND)
    assert (await client.get(Pod, "p")).metadata.deletion_timestamp is not None
    assert (await client.get(Box, "b")).metadata.finalizers == ["foregroundDeletion"]
    await client.delete(Pod, "p", grace_period_seconds=0)
    with pytest.raises(NotFound):
        await client.get(Box, "b")


async def test_finalizers_hold_an_object() -> None:
    client = FakeClient(a_pod(finalizers=["example.com/hold"]))
    await client.delete(Pod, "p")
    assert (await client.get(Pod, "p")).metadata.deletion_timestamp is not None
    await client.patch(Pod, "p", "default", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(Pod, "p")


async def test_a_watch_continues_from_a_list() -> None:
    client = FakeClient(a_pod("old"))
    version = (await client.list(Pod)).resource_version
    await client.create(Pod, a_pod("new"))
    seen: list[tuple[str, str]] = []

    async def watch() -> None:
        events = client.watch(Pod, "default", resource_version=version, timeout_seconds=10)
        async for event in events:
            seen.append((event.type, event.object.name))  # noqa: PERF401 - the test looks at it meanwhile

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        await settle()
        await client.delete(Pod, "old")
        await settle()
        assert seen == [("ADDED", "new"), ("DELETED", "old")]
        await client.clock.advance(10)  # type: ignore[attr-defined]


async def test_events_and_services_are_served_like_everything_else() -> None:
    client = FakeClient()
    service = await client.create(
        Service, {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    )
    assert service.spec.cluster_ip == "None"
    event = await client.create(
        Event, {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default", "name": "s"}, "reason": "R"}
    )
    assert event.reason == "R"


async def test_a_dry_run_stores_nothing() -> None:
    client = FakeClient()
    assert (await client.create(Pod, a_pod(), dry_run=True)).metadata.uid
    assert await client.list(Pod) == []


def test_it_works_where_texts_are_not_utf_8_unless_said() -> None:
    program = (
        "from kfcore.api.crd import crd\n"
        "from kfcore.testing import FakeClient\n"
        "from kfcore_pytorch import PyTorchJob\n"
        "FakeClient(crd(PyTorchJob))"
    )
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program], env=plain, check=True, timeout=300)

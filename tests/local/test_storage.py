"""Persistent volume claims: what each is bound to, what stands behind it, and when that goes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kfcore.api.core import Event, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.controller.controller import Request
from kfcore.controller.manager import Manager
from kfcore.testing import FakeClient, FakeClock
from kfcore_local.node import Node
from kfcore_local.scheduler import Scheduler
from kfcore_local.storage import add_storage_controllers, directory_of, make_default_class
from kfcore_local.storage.kinds import Claim, StorageClass, Volume

POD, CLAIM, VOLUME, CLASS = (untyped(kind.resource) for kind in (Pod, Claim, Volume, StorageClass))
LOCAL = "kfcore/local-directory"


def a_claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Manifest:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": asked}


def a_class(name: str, provisioner: str = LOCAL, **fields: Any) -> Manifest:
    return {"metadata": {"name": name}, "provisioner": provisioner, **fields}


def a_volume(name: str, size: str = "10Gi", **spec: Any) -> Manifest:
    given = {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}}
    return {"metadata": {"name": name}, "spec": {**given, "hostPath": {"path": f"/srv/{name}"}, **spec}}


def a_pod(name: str, claim: str = "data") -> Manifest:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}}


class Cluster:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.manager = Manager(self.client, clock=self.clock)
        add_storage_controllers(self.manager, root)

    async def settle(self) -> None:
        # Making and removing a directory is a thread's work. There is one thread: when it has come to this, it is done.
        for _ in range(5):
            await self.clock.advance(0)
            await asyncio.to_thread(lambda: None)

    async def create(self, kind: Any, *manifests: Manifest) -> None:
        for manifest in manifests:
            await self.client.create(kind, manifest, "default" if kind.resource.namespaced else None)
        await self.settle()

    async def delete(self, kind: Any, name: str) -> None:
        namespace = "default" if kind.resource.namespaced else None
        await self.client.delete(kind, name, namespace, grace_period_seconds=0 if kind is POD else None)
        await self.settle()

    async def claim(self, name: str = "data") -> tuple[str, str]:
        """Its phase, and the volume that it is bound to."""
        raw = (await self.client.get(CLAIM, name, "default")).raw
        return raw["status"]["phase"], raw["spec"].get("volumeName", "")

    async def volumes(self) -> dict[str, str]:
        """Volumes and their phases."""
        return {volume.name: volume.raw["status"]["phase"] for volume in await self.client.list(VOLUME)}

    async def events(self, name: str = "data") -> list[tuple[str, str]]:
        await self.settle()
        await self.manager.recorder("persistentvolume-controller").flush()
        events = await self.client.list(Event, "default")
        return [(event.reason, event.message) for event in events if event.involved_object.name == name]


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[Cluster]:
    node = {"allocatable": {"pods": "9"}, "conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.client.create(untyped(Node.resource), {"metadata": {"name": "here"}, "status": node})
    tasks = [
        asyncio.create_task(cluster.manager.run()),
        asyncio.create_task(Scheduler(cluster.client, clock=cluster.clock).run()),
    ]
    await cluster.settle()
    try:
        yield cluster
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    made = Cluster(tmp_path / "volumes")
    await make_default_class(made.client)
    async with running(made):
        yield made


async def test_a_claim_of_the_default_class_waits_for_its_first_pod_and_the_pod_for_it(cluster: Cluster) -> None:
    await cluster.create(CLAIM, a_claim())
    assert await cluster.claim() == ("Pending", "")
    assert ("WaitForFirstConsumer", "waiting for first consumer to be created before binding") in await cluster.events()
    await cluster.create(POD, a_pod("user"))
    phase, volume = await cluster.claim()
    assert phase == "Bound"
    assert await cluster.volumes() == {volume: "Bound"}
    assert (await cluster.client.get(POD, "user", "default")).raw["spec"]["nodeName"] == "here"
    assert await directory_of(cluster.client, "default", "data") == cluster.root / volume
    assert (cluster.root / volume).is_dir()
    assert stat.S_IMODE(cluster.root.stat().st_mode) == 0o700, "other users of this machine are kept out"
    claim = (await cluster.client.get(CLAIM, "data", "default")).raw
    assert claim["status"]["capacity"] == {"storage": "1Gi"}


async def test_a_class_that_binds_at_once_does(cluster: Cluster) -> None:
    await cluster.create(CLASS, a_class("now"))
    await cluster.create(CLAIM, a_claim(storageClassName="now"))
    assert (await cluster.claim())[0] == "Bound"


async def test_a_claim_in_use_stays_until_no_pod_runs_with_it_and_takes_its_directory_along(cluster: Cluster) -> None:
    await cluster.create(CLAIM, a_claim())
    await cluster.create(POD, a_pod("user"))
    _, volume = await cluster.claim()
    (cluster.root / volume / "file").write_text("kept")
    await cluster.delete(CLAIM, "data")
    assert (await cluster.client.get(CLAIM, "data", "default")).metadata.deletion_timestamp is not None
    assert (cluster.root / volume / "file").exists()
    await cluster.delete(POD, "user")
    assert await cluster.client.list(CLAIM, "default") == []
    assert await cluster.volumes() == {}
    assert not (cluster.root / volume).exists()


async def test_a_volume_that_is_to_be_kept_stays_with_its_files(cluster: Cluster) -> None:
    await cluster.create(CLASS, a_class("kept", reclaimPolicy="Retain"))
    await cluster.create(CLAIM, a_claim(storageClassName="kept"))
    _, volume = await cluster.claim()
    await cluster.delete(CLAIM, "data")
    assert await cluster.volumes() == {volume: "Released"}
    assert (cluster.root / volume).is_dir()
    await cluster.create(CLAIM, a_claim(storageClassName="kept"))
    assert (await cluster.claim())[1] != volume, "what is left of one claim is not for the next"


async def test_a_volume_that_somebody_made_is_bound_by_size_modes_class_and_labels(cluster: Cluster) -> None:
    labelled = a_volume("labelled", "5Gi")
    labelled["metadata"]["labels"] = {"disk": "fast"}
    await cluster.create(VOLUME, a_volume("large", "20Gi"), a_volume("small", "500Mi"), a_volume("fits"), labelled)
    await cluster.create(CLAIM, a_claim("picky", storageClassName="", selector={"matchLabels": {"disk": "fast"}}))
    await cluster.create(CLAIM, a_claim("any", storageClassName=""))
    await cluster.create(CLAIM, a_claim("large", "15Gi", storageClassName=""))
    await cluster.create(CLAIM, a_claim("many", accessModes=["ReadWriteMany"], storageClassName=""))
    assert await cluster.claim("picky") == ("Bound", "labelled")
    assert await cluster.claim("any") == ("Bound", "fits")
    assert await cluster.claim("large") == ("Bound", "large")
    assert await cluster.claim("many") == ("Pending", "")
    assert [reason for reason, _ in await cluster.events("many")] == ["FailedBinding"]
    assert await directory_of(cluster.client, "default", "large") == Path("/srv/large")
    await cluster.delete(CLAIM, "large")
    assert (await cluster.volumes())["large"] == "Released"


async def test_a_volume_that_comes_later_is_bound_then(cluster: Cluster) -> None:
    await cluster.create(CLAIM, a_claim(storageClassName="by-hand"))
    await cluster.create(VOLUME, a_volume("late", storageClassName="by-hand"))
    assert await cluster.claim() == ("Bound", "late")


async def test_a_volume_set_aside_for_a_claim_is_no_other_ones(cluster: Cluster) -> None:
    aside = a_volume("aside", claimRef={"namespace": "default", "name": "data"})
    await cluster.create(VOLUME, aside)
    await cluster.create(CLAIM, a_claim("other", storageClassName=""), a_claim(storageClassName=""))
    assert await cluster.claim("other") == ("Pending", "")
    assert await cluster.claim() == ("Bound", "aside")


async def test_an_unknown_class_and_a_provisioner_that_is_not_here_are_told(cluster: Cluster) -> None:
    await cluster.create(CLASS, a_class("cloud", "ebs.csi.aws.com"))
    await cluster.create(CLAIM, a_claim("one", storageClassName="fast"), a_claim("two", storageClassName="cloud"))
    [(reason, message)] = await cluster.events("one")
    assert (reason, message.partition(";")[0]) == (
        "ProvisioningFailed",
        'storageclass.storage.k8s.io "fast" not found',
    )
    [(reason, message)] = await cluster.events("two")
    assert reason == "ExternalProvisioning"
    assert "ebs.csi.aws.com" in message
    await cluster.create(POD, a_pod("user", "one"), a_pod("nobody", "none"))
    for name, why in (
        ("user", "pod has unbound immediate PersistentVolumeClaims"),
        ("nobody", 'persistentvolumeclaim "none" not found'),
    ):
        [condition] = (await cluster.client.get(POD, name, "default")).raw["status"]["conditions"]
        assert condition["message"] == f"0/1 nodes are available: {why}."


async def test_a_directory_that_cannot_be_made_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.root.write_text("a file in its place, as a disk that is full or read-only")
    await cluster.create(CLASS, a_class("now"))
    await cluster.create(CLAIM, a_claim(storageClassName="now"))
    [(reason, message)] = await cluster.events()
    assert reason == "ProvisioningFailed"
    assert "cannot make its directory" in message
    cluster.root.unlink()
    await cluster.clock.advance(15)
    await cluster.settle()
    assert (await cluster.claim())[0] == "Bound"


async def test_a_volume_of_somebody_else_is_never_removed(cluster: Cluster, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    volume = a_volume("theirs", persistentVolumeReclaimPolicy="Delete", hostPath={"path": str(precious)})
    volume["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": LOCAL}
    await cluster.create(VOLUME, volume)
    await cluster.create(CLAIM, a_claim(storageClassName=""))
    await cluster.delete(CLAIM, "data")
    assert precious.is_dir()
    assert await cluster.volumes() == {"theirs": "Released"}


async def test_what_is_bound_is_not_written_again(cluster: Cluster) -> None:
    await cluster.create(CLASS, a_class("now"))
    await cluster.create(CLAIM, a_claim(storageClassName="now", size="1024Mi"))
    _, volume = await cluster.claim()
    reconcilers = {controller.name: controller.reconciler for controller in cluster.manager.controllers}
    cluster.client.requests.clear()
    await reconcilers["persistentvolumeclaim"].reconcile(Request("default", "data"))
    await reconcilers["persistentvolume"].reconcile(Request("", volume))
    assert [method for method, _ in cluster.client.requests if method != "GET"] == []

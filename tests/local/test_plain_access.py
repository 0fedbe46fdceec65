"""How plain processes come to the API: where libraries look for a pod's token, nothing can be put for them."""

from __future__ import annotations

import sys

from one_machine import POD, a_container, a_pod
from patience import eventually

from kfcore.api.meta import Manifest
from kfcore.apiserver.logs import LogOptions
from kfcore_local.cluster import LocalCluster
from kfcore_local.isolation.mode import Isolation

WHO = """
import asyncio
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.client.cluster import ClusterClient
KIND = untyped(Resource("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False))
async def main():
    async with await ClusterClient.connect() as client:
        review = await client.create(KIND, {"apiVersion": "authentication.k8s.io/v1"})
        print(review.raw["status"]["userInfo"]["username"])
asyncio.run(main())
"""


async def test_a_plain_process_is_its_service_account_by_a_kubeconfig() -> None:
    async with LocalCluster(isolation=Isolation.NONE, without=["operator"]) as cluster:
        await cluster.client.create(POD, a_pod("pod", a_container(sys.executable, "-c", WHO)))

        async def ended() -> Manifest | None:
            pod = (await cluster.client.get(POD, "pod", "default")).raw
            return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None

        pod = await eventually(ended, "the pod has ended")
        assert pod is not None
        said = b"".join([chunk async for chunk in cluster.logs.read(pod, "main", LogOptions())])
    assert said == b"system:serviceaccount:default:default\n"

"""How plain processes come to the API: where libraries look for a pod's token, nothing can be put for them."""

from __future__ import annotations

import asyncio
import sys

from one_machine import POD, a_container, a_pod

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
        async with asyncio.timeout(30):
            while (pod := (await cluster.client.get(POD, "pod", "default")).raw)["status"]["phase"] != "Succeeded":
                assert pod["status"]["phase"] != "Failed"
                await asyncio.sleep(0.02)
        said = b"".join([chunk async for chunk in cluster.logs.read(pod, "main", LogOptions())])
    assert said == b"system:serviceaccount:default:default\n"

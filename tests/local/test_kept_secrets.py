"""Who may come in, over restarts of a cluster with a data directory."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from kfcore.api.codec import decode_json
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.client.cluster import ClusterClient
from kfcore_local.cluster import LocalCluster
from kfcore_local.instances import clear_data
from kfcore_local.service_account_tokens import SERVICE_ACCOUNT

SELF_REVIEW = untyped(Resource("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False))
PARTS = ("kubelet", "scheduler", "operator")


def a_cluster(directory: Path) -> LocalCluster:
    return LocalCluster(without=PARTS, data_dir=directory)


async def test_tokens_and_the_port_are_the_same_after_a_restart(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as cluster:
        first, url = cluster.token, cluster.url
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = await cluster.client.subresource("POST", SERVICE_ACCOUNT, "default", "default", "token", body=body)
    async with a_cluster(tmp_path) as cluster:
        assert (cluster.token, cluster.url) == (first, url)
        assert await who_is(cluster, decode_json(answer)["status"]["token"]) == "system:serviceaccount:default:default"


async def who_is(cluster: LocalCluster, token: str) -> str:
    async with await ClusterClient.at(cluster.url, token=token, authority=cluster.authority) as client:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return str((await client.create(SELF_REVIEW, review)).raw["status"]["userInfo"]["username"])


async def test_without_a_data_directory_they_are_new_each_time() -> None:
    async with LocalCluster(without=PARTS) as cluster:
        first = cluster.token
    async with LocalCluster(without=PARTS) as cluster:
        assert cluster.token != first


async def test_only_the_owner_can_read_them_and_a_file_that_others_could_read_is_not_trusted(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as cluster:
        first = cluster.token
    file = tmp_path / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    async with a_cluster(tmp_path) as cluster:
        assert cluster.token != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    (tmp_path / "secrets.json").chmod(0o600)
    async with a_cluster(tmp_path) as cluster:
        token = cluster.token
    assert json.loads((tmp_path / "secrets.json").read_text())["token"] == token


async def test_a_port_that_somebody_else_has_taken_meanwhile_is_not_insisted_on(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as cluster:
        port = int(cluster.url.rpartition(":")[2])
    async with LocalCluster(without=PARTS, port=port), a_cluster(tmp_path) as cluster:
        assert int(cluster.url.rpartition(":")[2]) != port


async def test_a_reset_removes_them(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with a_cluster(directory):
        pass
    clear_data(directory)
    assert not directory.exists()

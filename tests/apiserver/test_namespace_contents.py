"""What is in every namespace of a cluster from the start."""

from __future__ import annotations

from pathlib import Path

from conversing import Conversation

from kfcore.apiserver.namespace_contents import NamespaceContents
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock


async def names(ask: Conversation, namespace: str, plural: str) -> list[str]:
    _, found = await ask("GET", f"/api/v1/namespaces/{namespace}/{plural}")
    return [item["metadata"]["name"] for item in found["items"]]


async def test_every_namespace_has_its_service_account_and_the_authority() -> None:
    server = ApiServer(clock=FakeClock())
    NamespaceContents(server.objects, "a certificate")
    ask = Conversation(server)
    await ask.created("/api/v1/namespaces", {"metadata": {"name": "team"}})
    for namespace in ("default", "kube-system", "team"):
        assert await names(ask, namespace, "serviceaccounts") == ["default"]
        _, config = await ask("GET", f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt")
        assert config["data"] == {"ca.crt": "a certificate"}
    assert await names(ask, "default", "services") == ["kubernetes"]


async def test_they_come_back_when_they_are_deleted_and_go_with_their_namespace() -> None:
    server = ApiServer(clock=FakeClock())
    NamespaceContents(server.objects, "")
    ask = Conversation(server)
    await ask("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
    assert await names(ask, "default", "serviceaccounts") == ["default"]
    await ask.created("/api/v1/namespaces", {"metadata": {"name": "team"}})
    await ask("DELETE", "/api/v1/namespaces/team")
    assert (await ask("GET", "/api/v1/namespaces/team"))[0] == 404


async def test_kept_data_has_the_authority_of_the_server_that_runs(tmp_path: Path) -> None:
    for authority in ("first", "second"):
        server = ApiServer(clock=FakeClock(), data_dir=tmp_path)
        NamespaceContents(server.objects, authority)
        _, config = await Conversation(server)("GET", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
        assert config["data"] == {"ca.crt": authority}
        await server.close()

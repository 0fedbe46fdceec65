"""What an API server is told when it asks before it keeps an object."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import self_signed

from kfcore.api.core import Pod
from kfcore.api.meta import CustomResource, Manifest, Model, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import Forbidden, InternalError
from kfcore.client.interface import PatchType
from kfcore.controller.http_server import CannotListen
from kfcore.controller.manager import Manager
from kfcore.controller.metrics_access import Certificate
from kfcore.controller.webhooks import Admission, Denied, Webhooks
from kfcore.testing import FakeClient, schemaless_crd


class DialSpec(Model):
    level: int


class Dial(CustomResource):
    spec: DialSpec


Dial.resource = Resource("tests.example.com", "v1", "Dial", "dials")  # not registered: no other test serves it

AnyPod = untyped(Pod.resource)
VALIDATE, MUTATE = "/validate-tests-example-com-v1-dial", "/mutate--v1-pod"


def a_dial(level: Any, name: str = "dial") -> Manifest:
    return {
        "apiVersion": "tests.example.com/v1",
        "kind": "Dial",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"level": level},
    }


async def only_up(admission: Admission[Dial]) -> None:
    match admission:
        case Admission("DELETE", None, old) if old is not None:
            raise Denied(f"{admission.user} may not delete {old.name}")
        case Admission(_, Dial() as new, Dial() as old) if new.spec.level < old.spec.level:
            raise Denied(f"level is {new.spec.level}, expected at least {old.spec.level}")
        case Admission(_, Dial() as new) if new.spec.level > 100:
            admission.warnings.append("that is loud")
        case Admission(_, Dial() as new) if new.name == "breaks":
            raise RuntimeError("a mistake of the author's")


async def add_sidecar(pod: Manifest) -> None:
    pod["metadata"].setdefault("annotations", {})["example.com/sidecar"] = "yes"
    pod["spec"]["containers"].append({"name": "sidecar", "image": "none"})
    pod["spec"].pop("nodeName", None)
    pod["spec"]["a~b/c"] = "an odd name"


class Cluster:
    """An API server, as far as it asks."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self.url, self._trust = url, trust

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        session = aiohttp.ClientSession()
        async with session as http, http.post(self.url + path, data=body, ssl=self._trust) as answer:
            return answer.status, await answer.read()

    async def review(self, path: str, operation: str, **request: Any) -> Manifest:
        asked = {"uid": "1-2-3", "operation": operation, "userInfo": {"username": "ann"}, **request}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
        status, body = await self.post(path, json.dumps(review).encode())
        assert status == 200, body
        answer = json.loads(body)
        assert (answer["kind"], answer["response"].pop("uid")) == ("AdmissionReview", "1-2-3")
        response: Manifest = answer["response"]
        return response


@pytest.fixture
def webhooks(tmp_path: Path) -> Webhooks:
    self_signed(tmp_path)
    hooks = Webhooks("127.0.0.1:0", Certificate.of_directory(tmp_path))
    hooks.validate(Dial, only_up, operations=("CREATE", "UPDATE", "DELETE"))
    hooks.mutate(Pod, add_sidecar)
    return hooks


@pytest.fixture
async def cluster(webhooks: Webhooks, tmp_path: Path) -> AsyncIterator[Cluster]:
    manager = Manager(FakeClient())
    manager.add_runnable(webhooks.serve, needs_leadership=False)
    running = asyncio.create_task(manager.run())
    async with asyncio.timeout(60):
        while webhooks.port is None:  # noqa: ASYNC110 — a port is no event
            await asyncio.sleep(0.01)
    yield Cluster(f"https://127.0.0.1:{webhooks.port}", ssl.create_default_context(cafile=str(tmp_path / "tls.crt")))
    manager.stop()
    await asyncio.wait_for(running, 60)


async def test_what_may_be_is_allowed_and_the_user_warned(cluster: Cluster) -> None:
    assert await cluster.review(VALIDATE, "CREATE", object=a_dial(5)) == {"allowed": True}
    loud = await cluster.review(VALIDATE, "CREATE", object=a_dial(500))
    assert loud == {"allowed": True, "warnings": ["that is loud"]}


async def test_what_may_not_be_is_denied_in_the_author_s_words(cluster: Cluster) -> None:
    change = await cluster.review(VALIDATE, "UPDATE", object=a_dial(3), oldObject=a_dial(4))
    assert change == {
        "allowed": False,
        "status": {"message": "level is 3, expected at least 4", "code": 403, "reason": "Forbidden"},
    }
    deletion = await cluster.review(VALIDATE, "DELETE", object=None, oldObject=a_dial(4))
    assert deletion["status"]["message"] == "ann may not delete dial"


async def test_what_its_type_cannot_hold_is_denied_and_may_be_repaired(cluster: Cluster) -> None:
    denied = await cluster.review(VALIDATE, "CREATE", object=a_dial("loud"))
    assert (denied["allowed"], denied["status"]["code"]) == (False, 422)
    assert "level" in denied["status"]["message"]
    assert await cluster.review(VALIDATE, "UPDATE", object=a_dial(1), oldObject=a_dial("loud")) == {"allowed": True}


async def test_a_change_arrives_as_a_patch_that_the_server_applies(cluster: Cluster) -> None:
    container = {"name": "main", "image": "none"}
    metadata = {"name": "a", "namespace": "default", "annotations": {"mine": "kept"}}
    pod = {"metadata": metadata, "spec": {"containers": [container], "nodeName": "n"}}
    answer = await cluster.review(MUTATE, "CREATE", object=pod)
    assert (answer["allowed"], answer["patchType"]) == (True, "JSONPatch")
    patch = json.loads(base64.b64decode(answer["patch"]))
    config = untyped(Resource("tests.example.com", "v1", "Paper", "papers"))
    server = FakeClient()
    server.server.install_crd(schemaless_crd(config.resource))
    await server.create(config, pod)
    patched = (await server.patch(config, "a", "default", patch, patch_type=PatchType.JSON)).raw
    assert patched["metadata"]["annotations"] == {"mine": "kept", "example.com/sidecar": "yes"}
    both = [container, {"name": "sidecar", "image": "none"}]
    assert patched["spec"] == {"containers": both, "a~b/c": "an odd name"}


async def test_a_mutator_that_changes_nothing_sends_no_patch(webhooks: Webhooks, cluster: Cluster) -> None:
    async def nothing(manifest: Manifest) -> None:
        pass

    webhooks.mutate(Dial, nothing)
    answer = await cluster.review("/mutate-tests-example-com-v1-dial", "CREATE", object=a_dial(1))
    assert answer == {"allowed": True}


async def test_a_function_that_raises_is_no_verdict(cluster: Cluster) -> None:
    asked = {"request": {"uid": "1", "operation": "CREATE", "object": a_dial(1, "breaks")}}
    assert await cluster.post(VALIDATE, json.dumps(asked).encode()) == (500, b"the webhook failed; its log says why")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"request":{}}', b"<html>"])
async def test_what_is_no_review_is_refused(cluster: Cluster, body: bytes) -> None:
    status, said = await cluster.post(VALIDATE, body)
    assert (status, b"expected an AdmissionReview" in said) == (400, True)


async def test_nobody_is_asked_at_another_path(cluster: Cluster) -> None:
    asked = json.dumps({"request": {"uid": "1", "operation": "CREATE", "object": a_dial(1)}}).encode()
    assert (await cluster.post("/validate-other", asked))[0] == 404


async def test_the_configurations_name_whom_to_ask_for_what(webhooks: Webhooks) -> None:
    service = {"service": {"namespace": "system", "name": "dials"}, "caBundle": "UEVN"}
    client = FakeClient()
    made = {}
    for manifest in webhooks.configurations("dials", service):
        plural = manifest["kind"].lower() + "s"
        kind = untyped(Resource("admissionregistration.k8s.io", "v1", manifest["kind"], plural, namespaced=False))
        made[manifest["kind"]] = (await client.create(kind, manifest)).raw["webhooks"][0]
    validating, mutating = made["ValidatingWebhookConfiguration"], made["MutatingWebhookConfiguration"]
    assert validating["name"] == "validate.dial.tests.example.com"
    assert validating["clientConfig"]["service"]["path"] == VALIDATE
    assert validating["rules"][0]["operations"] == ["CREATE", "UPDATE", "DELETE"]
    assert validating["rules"][0]["resources"] == ["dials"]
    assert mutating["clientConfig"]["service"]["path"] == MUTATE
    [by_url, _] = webhooks.configurations("dials", {"url": "https://host:9443/"})
    assert by_url["webhooks"][0]["clientConfig"] == {"url": f"https://host:9443{MUTATE}"}


async def test_an_api_server_asks_the_functions_of_an_author(
    webhooks: Webhooks, cluster: Cluster, tmp_path: Path
) -> None:
    """The whole way, as an author's own test goes it: the objects that an operator ships, and a client."""
    client = FakeClient(schemaless_crd(Dial.resource))
    bundle = base64.b64encode((tmp_path / "tls.crt").read_bytes()).decode()
    for manifest in webhooks.configurations("dials", {"url": cluster.url, "caBundle": bundle}):
        plural = manifest["kind"].lower() + "s"
        kind = untyped(Resource("admissionregistration.k8s.io", "v1", manifest["kind"], plural, namespaced=False))
        await client.create(kind, manifest)
    dials = untyped(Dial.resource)
    await client.create(dials, a_dial(4))
    with pytest.raises(
        Forbidden, match=r'"validate\.dial\.tests\.example\.com" denied the request: level is 3, expected'
    ):
        await client.patch(dials, "dial", "default", {"spec": {"level": 3}})
    with pytest.raises(InternalError, match=r'failed calling webhook "validate\.dial\.tests\.example\.com"'):
        await client.create(dials, a_dial(1, "breaks"))
    with pytest.raises(Forbidden, match="kfcore-admin may not delete dial"):
        await client.delete(dials, "dial", "default")


async def test_a_taken_port_is_named(webhooks: Webhooks, cluster: Cluster, tmp_path: Path) -> None:
    second = Webhooks(f"127.0.0.1:{webhooks.port}", Certificate.of_directory(tmp_path))
    with pytest.raises(CannotListen, match=f"cannot serve webhooks on 127.0.0.1:{webhooks.port}"):
        await second.serve()

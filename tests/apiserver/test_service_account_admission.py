"""What a new pod is given of its service account, where there are service accounts."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import Conversation

from kfcore.apiserver.namespace_contents import NamespaceContents
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
def ask() -> Conversation:
    server = ApiServer(clock=FakeClock(), service_accounts=True)
    NamespaceContents(server.objects, "a certificate")
    return Conversation(server)


def a_pod(**spec: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "any"}], **spec}
    return {"metadata": {"name": "pod"}, "spec": spec}


async def test_a_pod_has_the_token_the_authority_and_the_namespace_of_its_account(ask: Conversation) -> None:
    init = [{"name": "before", "image": "any"}]
    spec = (await ask.created(PODS, a_pod(initContainers=init)))["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    [volume] = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    token, authority, own = volume["projected"]["sources"]
    assert token == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert authority == {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    assert [item["path"] for item in own["downwardAPI"]["items"]] == ["namespace"]
    for container in (spec["containers"][0], spec["initContainers"][0]):
        assert container["volumeMounts"] == [{"name": volume["name"], "readOnly": True, "mountPath": TOKEN}]


async def test_an_account_or_a_pod_may_want_no_token_and_the_pod_has_the_last_word(ask: Conversation) -> None:
    await ask.created(ACCOUNTS, {"metadata": {"name": "shy"}, "automountServiceAccountToken": False})
    pod = a_pod(serviceAccountName="shy")
    assert "volumes" not in (await ask.created(PODS, {**pod, "metadata": {"name": "one"}}))["spec"]
    pod = a_pod(serviceAccountName="shy", automountServiceAccountToken=True)
    assert (await ask.created(PODS, {**pod, "metadata": {"name": "two"}}))["spec"]["volumes"]
    pod = a_pod(automountServiceAccountToken=False)
    spec = (await ask.created(PODS, {**pod, "metadata": {"name": "three"}}))["spec"]
    assert "volumes" not in spec
    assert "volumeMounts" not in spec["containers"][0]


async def test_what_is_mounted_in_its_place_stays(ask: Conversation) -> None:
    mount = {"name": "mine", "mountPath": TOKEN}
    own = {"name": "main", "image": "any", "volumeMounts": [mount]}
    spec = (await ask.created(PODS, a_pod(containers=[own], volumes=[{"name": "mine", "emptyDir": {}}])))["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["mine"]


async def test_an_account_that_is_not_there_is_refused(ask: Conversation) -> None:
    code, refused = await ask("POST", PODS, a_pod(serviceAccountName="nobody"))
    assert code == 403
    assert refused["message"] == (
        'pods "pod" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found'
    )


async def test_the_pull_secrets_of_the_account_are_the_pods(ask: Conversation) -> None:
    await ask.created(ACCOUNTS, {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "registry"}]})
    spec = (await ask.created(PODS, a_pod(serviceAccountName="puller")))["spec"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


async def test_a_server_without_accounts_takes_pods_as_they_are() -> None:
    spec = (await Conversation(ApiServer(clock=FakeClock())).created(PODS, a_pod()))["spec"]
    assert "volumes" not in spec

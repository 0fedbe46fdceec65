"""What goes, what stays for now, and what goes along: namespaces, CRDs, objects whose owner never was."""

from __future__ import annotations

from typing import Any

import pytest

from kfcore.api.core import CustomResourceDefinition, Namespace, Pod
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import Forbidden, NotFound
from kfcore.client.interface import Propagation
from kfcore.testing import FakeClient, FakeClock, schemaless_crd

GADGET = Resource("things.example.com", "v1", "Gadget", "gadgets", subresources=frozenset({"status"}))
NAMESPACE = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
Gadget = untyped(GADGET)


def a_gadget(**metadata: Any) -> Manifest:
    return {"apiVersion": "things.example.com/v1", "kind": "Gadget", "metadata": {"name": "g", **metadata}, "spec": {}}


def a_pod(**metadata: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def owned_by(owner: Any) -> Manifest:
    """A reference that holds a deletion in the foreground up."""
    kind = {"apiVersion": "things.example.com/v1", "kind": "Gadget"}
    return {**kind, "name": owner.name, "uid": owner.metadata.uid, "blockOwnerDeletion": True}


async def test_a_namespace_takes_everything_in_it_along() -> None:
    client = FakeClient(schemaless_crd(GADGET), a_gadget(namespace="team"), a_pod(namespace="team"))
    await client.delete(Namespace, "team")
    assert await client.list(Gadget) == []
    with pytest.raises(NotFound):
        await client.get(Namespace, "team")


async def test_a_namespace_waits_for_the_last_finalizer_and_takes_nothing_new() -> None:
    client = FakeClient(a_pod(namespace="team", finalizers=["example.com/hold"]))
    await client.delete(Namespace, "team")
    with pytest.raises(Forbidden, match="because it is being terminated"):
        await client.create(Pod, a_pod(name="q"), "team")
    await client.patch(Pod, "p", "team", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(Namespace, "team")


async def test_a_namespace_says_what_it_waits_for() -> None:
    client = FakeClient(schemaless_crd(GADGET), a_gadget(namespace="team", finalizers=["things.example.com/hold"]))
    await client.delete(Namespace, "team")
    namespace = await client.get(untyped(NAMESPACE), "team")
    status = namespace.raw["status"]
    assert status["phase"] == "Terminating"
    told = {item["type"]: (item["status"], item["message"]) for item in status["conditions"]}
    assert told["NamespaceDeletionContentFailure"] == (
        "False", "All content successfully deleted, may be waiting on finalization",
    )  # fmt: skip
    assert told["NamespaceContentRemaining"] == (
        "True", "Some resources are remaining: gadgets.things.example.com has 1 resource instances",
    )  # fmt: skip
    assert told["NamespaceFinalizersRemaining"] == (
        "True",
        "Some content in the namespace has finalizers remaining: things.example.com/hold in 1 resource instances",
    )


async def test_a_crd_goes_after_its_objects() -> None:
    client = FakeClient(schemaless_crd(GADGET), a_gadget(finalizers=["example.com/hold"]))
    await client.delete(CustomResourceDefinition, GADGET.qualified_plural)
    assert (await client.get(Gadget, "g")).metadata.deletion_timestamp is not None
    await client.patch(Gadget, "g", "default", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(CustomResourceDefinition, GADGET.qualified_plural)
    with pytest.raises(NotFound, match="404 page not found"):
        await client.list(Gadget)


async def test_an_object_whose_owner_never_was_goes_when_that_is_found_out() -> None:
    clock = FakeClock()
    client = FakeClient(clock=clock)
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "none"}
    await client.create(Pod, a_pod(ownerReferences=[nobody]))
    await client.get(Pod, "p")
    await clock.advance(10)
    with pytest.raises(NotFound):
        await client.get(Pod, "p")


@pytest.mark.parametrize("policy", [Propagation.BACKGROUND, Propagation.FOREGROUND])
async def test_a_dependent_of_two_owners_stays_with_the_one_that_is_left(policy: Propagation) -> None:
    client = FakeClient(schemaless_crd(GADGET), a_gadget(), a_gadget(name="h"))
    owners = [await client.get(Gadget, name) for name in "gh"]
    await client.create(Pod, a_pod(ownerReferences=[owned_by(owner) for owner in owners]))
    await client.delete(Gadget, "g", propagation=policy)
    kept = (await client.get(Pod, "p")).metadata.owner_references
    assert [reference.name for reference in kept] == ["h"]
    with pytest.raises(NotFound):
        await client.get(Gadget, "g")


async def test_an_owner_in_another_namespace_is_none() -> None:
    clock = FakeClock()
    client = FakeClient(schemaless_crd(GADGET), a_gadget(namespace="team"), clock=clock)
    reference = owned_by(await client.get(Gadget, "g", "team"))
    await client.create(Pod, a_pod(ownerReferences=[reference]), "team")
    await client.create(Pod, a_pod(ownerReferences=[reference]), "default")
    await clock.advance(10)
    await client.get(Pod, "p", "team")
    with pytest.raises(NotFound):
        await client.get(Pod, "p", "default")


async def test_what_has_no_namespace_does_not_go_with_an_owner_that_has_one() -> None:
    clock = FakeClock()
    client = FakeClient(schemaless_crd(GADGET), a_gadget(), clock=clock)
    reference = owned_by(await client.get(Gadget, "g"))
    await client.create(Namespace, {"metadata": {"name": "team", "ownerReferences": [reference]}})
    await client.delete(Gadget, "g")
    await clock.advance(10)
    assert (await client.get(Namespace, "team")).metadata.name == "team"


async def test_a_bound_pod_is_given_time_and_an_unbound_one_goes_at_once() -> None:
    bound = a_pod()
    bound["spec"] |= {"nodeName": "n", "terminationGracePeriodSeconds": 7}
    client = FakeClient(bound, a_pod(name="q"))
    await client.delete(Pod, "p")
    await client.delete(Pod, "q")
    (pod,) = await client.list(Pod)
    assert (pod.name, pod.metadata.deletion_grace_period_seconds) == ("p", 7)
    await client.delete(Pod, "p", grace_period_seconds=0)
    assert await client.list(Pod) == []


async def test_a_namespace_waits_for_what_else_holds_it() -> None:
    held = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}, "spec": {"finalizers": ["a.b/c"]}}
    client = FakeClient(held)
    await client.delete(Namespace, "team")
    assert client.server.storage.collection("namespaces").get("", "team").manifest["spec"] == {"finalizers": ["a.b/c"]}  # type: ignore[union-attr]
    await client.patch(Namespace, "team", "", {"spec": {"finalizers": []}})
    assert (await client.get(Namespace, "team")).metadata.name == "team", "its spec does not change this way"


async def test_a_namespace_goes_with_the_last_finalizer_of_its_own() -> None:
    held = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "finalizers": ["a.b/c"]}}
    client = FakeClient(held)
    await client.delete(Namespace, "team")
    assert (await client.get(Namespace, "team")).metadata.deletion_timestamp
    await client.patch(Namespace, "team", "", {"metadata": {"finalizers": []}})
    with pytest.raises(NotFound):
        await client.get(Namespace, "team")

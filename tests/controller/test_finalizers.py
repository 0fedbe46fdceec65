"""An object that must be cleaned up after stays until it was, and nobody else's finalizer is lost on the way."""

from __future__ import annotations

import pytest

from kfcore import CustomResource, Model
from kfcore.client.errors import Conflict, NotFound
from kfcore.controller.finalizers import add_finalizer, remove_finalizer
from kfcore.testing import FakeClient

OURS, THEIRS = "example.com/bucket", "example.org/other"


class BucketSpec(Model):
    size: int = 1


class Bucket(CustomResource, group="finalizers.example.com", version="v1", kind="Bucket"):
    spec: BucketSpec = BucketSpec()


async def test_an_object_stays_until_its_finalizer_is_removed() -> None:
    client = FakeClient()
    bucket = await add_finalizer(client, await client.create(Bucket, {"metadata": {"name": "b"}}), OURS)
    await client.delete(Bucket, "b")
    going = await client.get(Bucket, "b")
    assert going.metadata.deletion_timestamp is not None
    await remove_finalizer(client, going, OURS)
    with pytest.raises(NotFound):
        await client.get(Bucket, bucket.name)


async def test_nothing_is_sent_when_there_is_nothing_to_do() -> None:
    client = FakeClient()
    bucket = await add_finalizer(client, await client.create(Bucket, {"metadata": {"name": "b"}}), OURS)
    client.requests.clear()
    assert await add_finalizer(client, bucket, OURS) is bucket
    assert await remove_finalizer(client, bucket, THEIRS) is bucket
    assert client.requests == []


async def test_none_is_added_to_an_object_that_is_going() -> None:
    client = FakeClient()
    await client.create(Bucket, {"metadata": {"name": "b", "finalizers": [THEIRS]}})
    await client.delete(Bucket, "b")
    going = await client.get(Bucket, "b")
    assert (await add_finalizer(client, going, OURS)).metadata.finalizers == [THEIRS]


async def test_one_that_somebody_added_meanwhile_is_not_lost() -> None:
    client = FakeClient()
    stale = await client.create(Bucket, {"metadata": {"name": "b"}})
    await add_finalizer(client, stale, THEIRS)
    with pytest.raises(Conflict):
        await add_finalizer(client, stale, OURS)
    await add_finalizer(client, await client.get(Bucket, "b"), OURS)
    assert (await client.get(Bucket, "b")).metadata.finalizers == [THEIRS, OURS]

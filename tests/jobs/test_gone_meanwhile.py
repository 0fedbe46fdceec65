"""What is gone, or another object by now, when a job wants to delete it, is no failure."""

from __future__ import annotations

import pytest
from training import Training, a_march_job

from kfcore.api.core import Event, Pod
from kfcore.client.errors import ApiError, Conflict, NotFound


@pytest.mark.parametrize(
    "refusal", [NotFound("pod not found"), Conflict("the uid does not match")], ids=["gone", "new"]
)
async def test_a_replica_that_goes_between_read_and_delete_is_no_failure(refusal: ApiError) -> None:
    training = Training(a_march_job(walkers=2))
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    await training.patch({"marchReplicaSpecs": {"Walker": {"replicas": 1}}})
    gone = training.client.faults.fail("delete", Pod, refusal)
    await training.reconcile()
    assert gone.hits == 1
    assert [event.reason for event in await training.client.list(Event) if event.type == "Warning"] == []
    await training.reconciled()
    assert await training.pods() == ["march-walker-0"]

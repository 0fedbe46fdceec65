"""When a TFJob runs, succeeds and fails, as its user sees it."""

from __future__ import annotations

import pytest
from tf_jobs import a_tf_job, replicas, tf_training
from training import Training

from kfcore.api.core import Event, Pod
from kfcore.api.crd import crd
from kfcore.api.meta import Manifest, untyped
from kfcore.api.validation import validate
from kfcore.client.errors import Invalid
from kfcore.testing import FakeClient, reconcile, schemaless_crd
from kfcore_tf import TFJob, TFJobController


async def running(job: Manifest) -> Training:
    training = tf_training(job)
    await training.reconcile()
    await training.set(phase="Running")
    await training.reconcile()
    return training


async def message(training: Training) -> str:
    return (await training.job()).status.conditions[-1].message


# ── Success ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chief", ["Chief", "Master"])
async def test_the_chief_decides_and_the_workers_do_not(chief: str) -> None:
    training = await running(a_tf_job(**{chief: 1}, Worker=2, PS=1))
    await training.set("tf-worker-0", "tf-worker-1", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]
    await training.set(f"tf-{chief.lower()}-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]
    assert await message(training) == "TFJob default/tf successfully completed."


async def test_the_job_runs_when_its_chief_does() -> None:
    training = tf_training(a_tf_job(Chief=1, Worker=1))
    await training.reconcile()
    await training.set("tf-worker-0", phase="Running")
    await training.reconcile()
    assert await training.conditions() == ["Created"]
    await training.set("tf-chief-0", phase="Running")
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]
    assert await message(training) == "TFJob default/tf is running."


@pytest.mark.parametrize(("policy", "done"), [("", True), ("AllWorkers", False)])
async def test_without_a_chief_worker_0_decides_unless_all_workers_are_asked_for(policy: str, done: bool) -> None:
    training = await running(a_tf_job(Worker=2, PS=1, spec={"successPolicy": policy}))
    await training.set("tf-worker-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert ("Succeeded" in await training.conditions()) is done
    await training.set("tf-worker-1", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


async def test_worker_1_alone_does_not_decide() -> None:
    training = await running(a_tf_job(Worker=2))
    await training.set("tf-worker-1", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]


@pytest.mark.parametrize("only", ["Evaluator", "PS"])
async def test_a_job_of_neither_chief_nor_workers_ends_with_its_replicas(only: str) -> None:
    training = await running(a_tf_job(**{only: 1}))
    assert await training.conditions() == ["Created", "Running"]
    await training.set(phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]


async def test_the_chief_and_worker_0_carry_the_role_of_the_master() -> None:
    async def masters(job: Manifest) -> list[str]:
        training = tf_training(job)
        await training.reconcile()
        pods = await training.client.list(Pod, "default", label_selector="training.kubeflow.org/job-role=master")
        return [pod.name for pod in pods]

    assert await masters(a_tf_job(Chief=1, Worker=2)) == ["tf-chief-0"]
    assert await masters(a_tf_job(Worker=2, PS=1)) == ["tf-worker-0"]
    assert await masters(a_tf_job(Chief=0, Worker=2)) == ["tf-worker-0"]


async def test_the_evaluator_ends_first_where_the_job_asks_for_it() -> None:  # B28
    training = await running(a_tf_job({"kfcore/wait-for-evaluator": "true"}, Chief=1, Worker=1, Evaluator=1))
    await training.set("tf-chief-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]
    await training.set("tf-evaluator-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


async def test_nobody_waits_for_an_evaluator_by_default() -> None:
    training = await running(a_tf_job(Chief=1, Evaluator=1))
    await training.set("tf-chief-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


async def test_parameter_servers_end_with_the_job_where_the_clean_up_policy_says_so() -> None:  # B27
    training = await running(a_tf_job(Chief=1, Worker=1, PS=1, spec={"runPolicy": {"cleanPodPolicy": "Running"}}))
    await training.set("tf-chief-0", phase="Succeeded", exit_code=0)
    await training.reconciled()
    assert await training.pods() == ["tf-chief-0"]


# ── Failure ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failing", ["worker", "ps", "evaluator"])
async def test_a_replica_that_failed_for_good_fails_the_job_while_the_chief_runs(failing: str) -> None:
    training = await running(a_tf_job(Chief=1, Worker=1, PS=1, Evaluator=1))
    await training.set(f"tf-{failing}-0", phase="Failed", exit_code=1)
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running=False", "Failed"]
    name = {"worker": "Worker", "ps": "PS", "evaluator": "Evaluator"}[failing]
    assert await message(training) == f"TFJob default/tf has failed because 1 {name} replica(s) failed."
    (event,) = await training.events("TFJobFailed")
    assert event.endswith(f"Pod tf-{failing}-0: exit code 1.")


async def test_of_several_types_that_failed_the_chief_is_named() -> None:
    training = await running(a_tf_job(Worker=1, PS=1, Chief=1))
    await training.set(phase="Failed", exit_code=1)
    await training.reconcile()
    assert await message(training) == "TFJob default/tf has failed because 1 Chief replica(s) failed."


async def test_a_chief_that_succeeded_outweighs_a_worker_that_failed_in_the_same_moment() -> None:  # B11
    training = await running(a_tf_job(Chief=1, Worker=1))
    await training.set("tf-chief-0", phase="Succeeded", exit_code=0)
    await training.set("tf-worker-0", phase="Failed", exit_code=1)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Running=False", "Succeeded"]


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
async def test_a_running_pod_that_somebody_deletes_is_created_again_and_does_not_fail_the_job(
    policy: str,
) -> None:  # B7
    training = await running(a_tf_job(Worker=replicas(2, restart_policy=policy), PS=1))
    uid = await training.uid("tf-worker-1")
    await training.client.delete(Pod, "tf-worker-1", "default")
    await training.reconcile()
    assert await training.conditions() == ["Created", "Running"]
    if "tf-worker-1" in await training.pods():
        await training.client.delete(Pod, "tf-worker-1", "default", grace_period_seconds=0)
    await training.reconciled()
    assert await training.uid("tf-worker-1") != uid
    assert await training.conditions() == ["Created", "Running"]


async def test_an_evicted_pod_is_created_again_where_the_policy_restarts() -> None:
    training = await running(a_tf_job(Worker=replicas(2, restart_policy="OnFailure")))
    uid = await training.uid("tf-worker-1")
    body = {"status": {"phase": "Failed", "reason": "Evicted", "containerStatuses": None}}
    await training.client.patch(Pod, "tf-worker-1", "default", body, subresource="status")
    await training.reconcile()
    assert await training.conditions() == ["Created", "Restarting"]
    await training.reconciled()
    assert await training.uid("tf-worker-1") != uid
    assert "Failed" not in await training.conditions()


@pytest.mark.parametrize(("code", "condition"), [(1, "Failed"), (137, "Restarting")])
async def test_the_exit_code_decides_between_failing_and_restarting(code: int, condition: str) -> None:
    training = await running(a_tf_job(Chief=1, Worker=replicas(1, restart_policy="ExitCode")))
    await training.set("tf-worker-0", phase="Failed", exit_code=code)
    await training.reconcile()
    assert (await training.conditions())[-1] == condition


async def test_a_type_of_no_replicas_gets_no_pod_and_takes_no_part() -> None:  # B6
    training = await running(a_tf_job(Chief=0, Worker=replicas(1), PS=0))
    assert await training.pods() == await training.services() == ["tf-worker-0"]
    assert await training.conditions() == ["Created", "Running"]
    await training.set("tf-worker-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


# ── Dynamic workers ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dynamic_worker_may_fail() -> None:
    training = await running(a_tf_job(Worker=3, PS=1, spec={"enableDynamicWorker": True}))
    await training.set("tf-worker-1", phase="Failed", exit_code=1)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Running"]
    assert (await training.job()).status.replica_statuses["Worker"].failed == 1
    await training.set("tf-worker-0", phase="Succeeded", exit_code=0)
    await training.reconcile()
    assert "Succeeded" in await training.conditions()


async def test_a_parameter_server_of_dynamic_workers_may_not_fail() -> None:
    training = await running(a_tf_job(Worker=2, PS=1, spec={"enableDynamicWorker": True}))
    await training.set("tf-ps-0", phase="Failed", exit_code=1)
    await training.reconcile()
    assert "Failed" in await training.conditions()


@pytest.mark.parametrize(("code", "condition"), [(1, "Failed"), (137, "Restarting")])
async def test_a_dynamic_worker_with_the_policy_exit_code_keeps_to_it(code: int, condition: str) -> None:
    workers = replicas(2, restart_policy="ExitCode")
    training = await running(a_tf_job(Worker=workers, PS=1, spec={"enableDynamicWorker": True}))
    await training.set("tf-worker-1", phase="Failed", exit_code=code)
    await training.reconcile()
    assert (await training.conditions())[-1] == condition


# ── Refusal ──────────────────────────────────────────────────────────────────────────────────────────────────────────


TWO_CHIEFS = "spec.tfReplicaSpecs: must not have more than 1 Chief or Master role"


async def test_a_job_of_two_chiefs_is_refused_by_the_api_server() -> None:
    with pytest.raises(Invalid, match="must not have more than 1 Chief or Master role"):
        await FakeClient().create(untyped(TFJob.resource), a_tf_job(chief=1, MASTER=1, Worker=1), "default")


async def test_a_job_of_two_chiefs_that_an_older_crd_let_in_is_failed_once_and_for_all() -> None:
    client = FakeClient(schemaless_crd(TFJob.resource), a_tf_job(Chief=1, Master=1, Worker=1))
    controller = TFJobController(client)
    for _ in range(3):
        await reconcile(controller, "default/tf")
    assert await client.list(Pod, "default") == []
    condition = (await client.get(TFJob, "tf", "default")).status.conditions[-1]
    assert (condition.type, condition.message) == ("Failed", f"TFJob failed validation because {TWO_CHIEFS}")
    events = [event for event in await client.list(Event, "default") if event.reason == "TFJobFailedValidation"]
    assert [(event.type, event.message) for event in events] == [("Warning", condition.message)]


def test_what_is_wrong_is_named_with_its_place() -> None:
    def errors(job: Manifest) -> list[str]:
        return [str(error) for error in validate(TFJob, job)]

    nameless = a_tf_job(Worker=1)
    nameless["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["name"] = "main"
    path = "spec.tfReplicaSpecs.Worker.template.spec.containers"
    assert errors(nameless) == [f"{path}: expected a container named tensorflow"]
    assert errors(a_tf_job(Worker=1, spec={"successPolicy": "Any"})) == [
        'spec.successPolicy: expected one of AllWorkers, found "Any"'
    ]
    (unknown,) = errors(a_tf_job(Worker=1, Boss=1))
    assert unknown.startswith("spec.tfReplicaSpecs.Boss: unknown replica type")
    assert errors(a_tf_job(worker=2, ps=1, CHIEF=1)) == []


def test_the_crd_has_the_status_subresource_but_no_scale_and_refuses_two_chiefs() -> None:
    (version,) = crd(TFJob)["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    specs = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["tfReplicaSpecs"]
    messages = [rule["message"] for rule in specs["x-kubernetes-validations"]]
    assert "must not have more than 1 Chief or Master role" in messages
    assert "unknown replica type: expected one of Chief, Evaluator, Master, PS, Worker" in messages


@pytest.mark.parametrize("failed", ["tf-chief-0", "tf-worker-0"])
async def test_a_restart_is_told_in_the_words_that_users_know(failed: str) -> None:
    training = tf_training(
        a_tf_job(Chief=replicas(restart_policy="OnFailure"), Worker=replicas(restart_policy="OnFailure"))
    )
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    await training.set(failed, phase="Failed", exit_code=1)
    await training.reconcile()
    replica_type = failed.split("-")[1].capitalize()
    assert (await training.job()).status.conditions[-1].message == (
        f"job tf is restarting because {replica_type} replica(s) failed."
    )


async def test_the_end_of_a_dynamic_worker_that_is_done_without_is_told_once() -> None:
    training = await running(a_tf_job(PS=1, Worker=3, spec={"enableDynamicWorker": True}))
    for worker, code in (("tf-worker-1", 3), ("tf-worker-0", 4)):
        await training.set(worker, phase="Failed", exit_code=code)
        await training.after(60)
        await training.reconciled()
    told = ["Pod: default.tf-worker-1 exited with code 3", "Pod: default.tf-worker-0 exited with code 4"]
    assert await training.events("ExitedWithCode") == told

"""What users of the training operator saw in conditions and metrics, and what they see here. The numbers are those of
docs/compatibility.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from training import MarchJob, Training, a_march_job

from kfcore.api.meta import untyped
from kfcore.controller.controller import Request
from kfcore.jobs.metrics import JobMetrics
from kfcore.testing import schemaless_crd

REPOSITORY = Path(__file__).parents[2]


def counted(metrics: JobMetrics, name: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(metrics)
    labels = {"job_namespace": "default", "framework": "march"}
    return registry.get_sample_value(f"training_operator_jobs_{name}_total", labels)


async def test_a_job_that_somebody_changes_meanwhile_keeps_both_changes_and_shows_no_error() -> None:  # B10
    training = Training(a_march_job())
    job = await training.job()
    await training.patch({"runPolicy": {"backoffLimit": 3}})
    await training.controller.reconcile_job(job)
    now = await training.job()
    assert now.spec.run_policy.backoff_limit == 3
    assert now.status.is_true("Created")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_job_never_both_succeeded_and_failed_and_runs_no_more(phase: str) -> None:  # B11
    training = Training(a_march_job(restart_policy="Never"))
    await training.reconciled()
    await training.set(phase="Running")
    await training.reconciled()
    await training.set(phase=phase, exit_code=0 if phase == "Succeeded" else 1)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Running=False", phase]


async def test_a_job_that_was_restarting_is_not_so_when_it_failed() -> None:  # B11
    training = Training(a_march_job(restart_policy="ExitCode"))
    await training.reconciled()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconcile()
    assert "Restarting" in await training.conditions()
    await training.reconciled()
    await training.set("march-walker-1", phase="Failed", exit_code=1)
    await training.reconciled()
    assert await training.conditions() == ["Created", "Restarting=False", "Failed"]


async def test_metrics_count_a_job_once_however_often_the_operator_restarts() -> None:  # B30
    training = Training(a_march_job(restart_policy="ExitCode"))
    metrics = training.controller.metrics
    await training.reconciled()
    training.restart_operator(metrics)
    await training.reconciled()
    await training.set("march-walker-0", phase="Failed", exit_code=137)
    await training.reconciled()
    await training.set("march-walker-1", phase="Failed", exit_code=1)
    await training.reconciled()
    assert {name: counted(metrics, name) for name in ("created", "restarted", "failed", "successful")} == {
        "created": 1,
        "restarted": 1,
        "failed": 1,
        "successful": None,
    }


async def test_metrics_count_a_job_that_a_limit_failed_and_one_that_was_deleted() -> None:  # B30
    training = Training(a_march_job(activeDeadlineSeconds=5, ttlSecondsAfterFinished=0))
    await training.reconciled()
    await training.after(5)
    await training.reconciled()
    metrics = training.controller.metrics
    assert (counted(metrics, "failed"), counted(metrics, "deleted")) == (1, 1)


async def test_a_job_whose_created_condition_was_lost_gets_it_back() -> None:  # B31
    training = Training(a_march_job())
    await training.reconciled()
    body = {"status": {"conditions": None}}
    await training.client.patch(untyped(MarchJob.resource), "march", "default", body, subresource="status")
    training.restart_operator()
    await training.reconciled()
    assert await training.conditions() == ["Created"]


@pytest.mark.parametrize(
    "spec",
    [
        {"marchReplicaSpecs": {"Walker": None}},
        {"marchReplicaSpecs": {"Walker": {"template": {"spec": {"containers": []}}}}},
        {"marchReplicaSpecs": {"Walker": {"template": {"spec": {}}}}},
        {"marchReplicaSpecs": {}},
        {"marchReplicaSpecs": {"Walker": {"replicas": -1, "template": {"spec": {"containers": [{"name": "march"}]}}}}},
        {},
    ],
)
async def test_a_broken_job_fails_by_itself_and_takes_no_other_down(spec: object) -> None:  # B32
    broken = {**a_march_job(name="broken"), "spec": spec}
    training = Training(a_march_job(), schemaless_crd(MarchJob.resource), broken)
    await training.controller.reconcile(Request("default", "broken"))
    await training.reconciled()
    raw = (await training.client.get(untyped(MarchJob.resource), "broken", "default")).raw
    assert [c["type"] for c in raw["status"]["conditions"] if c["status"] == "True"][-1] == "Failed"
    assert await training.conditions() == ["Created"]


async def test_a_pod_with_a_strange_index_is_left_alone() -> None:  # B32
    training = Training(a_march_job(walkers=1))
    await training.reconciled()
    body = {"metadata": {"labels": {"training.kubeflow.org/replica-index": "x1"}}}
    await training.client.patch(untyped_pod(), "march-walker-0", "default", body)
    await training.reconciled()
    assert await training.pods() == ["march-walker-0"]


def untyped_pod():  # type: ignore[no-untyped-def]
    from kfcore.api.core import Pod

    return untyped(Pod.resource)


async def test_the_time_to_live_of_the_operator_is_for_jobs_without_one() -> None:
    from kfcore.jobs.options import OperatorOptions

    training = Training(a_march_job(), options=OperatorOptions(ttl_seconds=60))
    await training.reconciled()
    await training.set(phase="Succeeded", exit_code=0)
    result = await training.reconciled()
    assert result.requeue_after == pytest.approx(60, abs=2)


def test_every_known_bug_has_a_row_in_the_documentation_and_a_test() -> None:
    table = (REPOSITORY / "docs/compatibility.md").read_text()
    rows = {int(number) for line in table.splitlines() if line.startswith("| B") for number in _numbers(line)}
    tests = {int(n) for path in REPOSITORY.glob("tests/**/*.py") for n in re.findall(r"# B(\d+)", path.read_text())}
    assert rows == set(range(1, 38))
    assert set(range(1, 38)) - tests == set()


def _numbers(line: str) -> list[str]:
    return re.findall(r"B(\d+)", line.split("|")[1])

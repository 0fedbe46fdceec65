"""What the replicas of a TFJob are told of each other."""

from __future__ import annotations

import pytest
from tf_jobs import a_tf_job, replicas, tf_configs, tf_training

DYNAMIC = {"enableDynamicWorker": True}


async def test_every_replica_is_told_the_whole_cluster_and_its_own_part_in_it() -> None:
    training = tf_training(a_tf_job(Worker=2, PS=1, Chief=1, Evaluator=1))
    await training.reconcile()
    (variable,) = (await training.pod_specs())["tf-worker-1"]["containers"][0]["env"]
    assert variable == {
        "name": "TF_CONFIG",
        "value": '{"cluster":{"chief":["tf-chief-0.default.svc:2222"],"evaluator":["tf-evaluator-0.default.svc:2222"],'
        '"ps":["tf-ps-0.default.svc:2222"],"worker":["tf-worker-0.default.svc:2222","tf-worker-1.default.svc:2222"]},'
        '"task":{"type":"worker","index":1},"environment":"cloud"}',
    }


async def test_each_type_is_reached_at_its_own_port() -> None:
    configs = await tf_configs(a_tf_job(Worker=replicas(1, port=5000), PS=1))
    assert configs["tf-ps-0"]["cluster"] == {
        "ps": ["tf-ps-0.default.svc:2222"],
        "worker": ["tf-worker-0.default.svc:5000"],
    }


async def test_a_cluster_with_a_domain_of_its_own_is_addressed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOM_CLUSTER_DOMAIN", "cluster.local")
    configs = await tf_configs(a_tf_job(Worker=2))
    assert configs["tf-worker-0"]["cluster"]["worker"][0] == "tf-worker-0.default.svc.cluster.local:2222"


@pytest.mark.parametrize("only", ["Chief", "Evaluator", "Master", "PS", "Worker"])
async def test_a_single_replica_trains_alone_and_gets_no_tf_config(only: str) -> None:
    configs = await tf_configs(a_tf_job(**{only: replicas(None)}))
    assert configs == {f"tf-{only.lower()}-0": None}


async def test_a_type_of_no_replicas_is_an_empty_list() -> None:
    configs = await tf_configs(a_tf_job(Worker=2, PS=0))
    assert configs["tf-worker-0"]["cluster"]["ps"] == []


async def test_only_the_container_of_tensorflow_is_told_and_a_users_own_tf_config_gives_way() -> None:
    job = a_tf_job(Worker=2)
    pod = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    pod["containers"][0]["env"] = [{"name": "TF_CONFIG", "value": "mine"}, {"name": "DATA", "value": "here"}]
    pod["containers"].insert(0, {"name": "sidecar", "image": "i"})
    pod["initContainers"] = [{"name": "init", "image": "i"}]
    training = tf_training(job)
    await training.reconcile()
    spec = (await training.pod_specs())["tf-worker-0"]
    sidecar, tensorflow = spec["containers"]
    assert "env" not in sidecar
    assert "env" not in spec["initContainers"][0]
    assert [variable["name"] for variable in tensorflow["env"]] == ["DATA", "TF_CONFIG"]
    assert tensorflow["env"][-1]["value"] != "mine"


async def test_a_dynamic_worker_knows_itself_and_the_parameter_servers() -> None:
    training = tf_training(a_tf_job(Worker=3, PS=2, spec=DYNAMIC))
    await training.reconcile()
    (variable,) = (await training.pod_specs())["tf-worker-2"]["containers"][0]["env"]
    assert variable["value"] == (
        '{"cluster":{"worker":{"2":"tf-worker-2.default.svc:2222"},'
        '"ps":["tf-ps-0.default.svc:2222","tf-ps-1.default.svc:2222"]},"task":{"type":"worker","index":2}}'
    )


async def test_a_parameter_server_of_dynamic_workers_knows_itself() -> None:
    configs = await tf_configs(a_tf_job(Worker=3, PS=2, spec=DYNAMIC))
    assert configs["tf-ps-1"]["cluster"] == {"worker": {}, "ps": ["tf-ps-1.default.svc:2222"]}


async def test_dynamic_workers_without_parameter_servers_are_told_that_there_are_none() -> None:
    configs = await tf_configs(a_tf_job(Worker=2, spec=DYNAMIC))
    assert configs["tf-worker-0"]["cluster"] == {"worker": {"0": "tf-worker-0.default.svc:2222"}, "ps": None}


async def test_the_chief_of_dynamic_workers_is_not_left_with_an_empty_cluster() -> None:  # B29
    configs = await tf_configs(a_tf_job(Chief=1, Worker=2, PS=2, Evaluator=1, spec=DYNAMIC))
    cluster = {
        "worker": {},
        "ps": ["tf-ps-0.default.svc:2222", "tf-ps-1.default.svc:2222"],
        "chief": ["tf-chief-0.default.svc:2222"],
    }
    assert configs["tf-chief-0"] == {"cluster": cluster, "task": {"type": "chief", "index": 0}}
    assert configs["tf-evaluator-0"]["cluster"] == cluster


async def test_a_dynamic_worker_that_is_added_changes_nothing_for_the_others() -> None:
    training = tf_training(a_tf_job(Worker=2, PS=1, spec=DYNAMIC))
    await training.reconcile()
    before = await training.pod_specs()
    await training.patch({"tfReplicaSpecs": {"Worker": {"replicas": 3}}})
    await training.reconcile()
    after = await training.pod_specs()
    assert after.keys() - before.keys() == {"tf-worker-2"}
    assert {name: after[name] for name in before} == before

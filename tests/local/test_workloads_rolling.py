"""Whatever the pods do, a rolling update stays within its limits and comes to its end."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from kfcore.api.meta import ObjectMeta
from kfcore_local.workloads.kinds import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetSpec,
    RollingUpdateDeployment,
)
from kfcore_local.workloads.rolling import (
    MAXIMUM,
    new_set_replicas,
    old_sets_scaled_down,
    proportional,
    surge_and_unavailable,
    wanted_total,
)

AMOUNTS = st.one_of(st.integers(0, 8), st.integers(0, 100).map(lambda percent: f"{percent}%"))


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    rolling = RollingUpdateDeployment(max_surge=draw(AMOUNTS), max_unavailable=draw(AMOUNTS))
    strategy = DeploymentStrategy(rolling_update=rolling)
    return Deployment(spec=DeploymentSpec(replicas=draw(st.integers(0, 12)), strategy=strategy))


def a_set(name: str, replicas: int, available: int = 0, maximum: int = 0) -> ReplicaSet:
    metadata = ObjectMeta(
        name=name,
        creation_timestamp=datetime(2024, 1, 1, int(name), tzinfo=UTC),
        annotations={MAXIMUM: str(maximum)} if maximum else {},
    )
    return ReplicaSet(
        metadata=metadata, spec=ReplicaSetSpec(replicas=replicas), status={"availableReplicas": available}
    )


@settings(deadline=None)
@given(deployments(), st.data())
def test_a_rollout_keeps_its_limits_and_ends(deployment: Deployment, data: st.DataObject) -> None:
    wanted = deployment.spec.replicas
    surge, unavailable = surge_and_unavailable(deployment)
    old, new, ready = wanted, 0, {"old": wanted, "new": 0}
    for _ in range(4 * wanted + 4):
        sets = [a_set("1", old, ready["old"]), a_set("2", new, ready["new"])]
        grown = new_set_replicas(deployment, sets, new)
        if grown != new:
            new = grown
        else:
            old = old_sets_scaled_down(deployment, sets[1], sets[:1]).get("1", old)
        ready["old"] = min(ready["old"], old)
        assert old + new <= wanted + surge
        assert ready["old"] + ready["new"] >= wanted - unavailable
        # some of the new pods become ready; in the end one always does
        ready["new"] = min(new, ready["new"] + data.draw(st.integers(0 if new > ready["new"] + 1 else 1, 3)))
    assert (old, new) == (0, wanted)


@settings(deadline=None)
@given(deployments(), st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_proportional_scaling_gives_out_exactly_what_there_is(deployment: Deployment, present: list[int]) -> None:
    former = sum(present)
    sets = [a_set(str(place), replicas, maximum=former) for place, replicas in enumerate(present)]
    sizes = proportional(deployment, sets)
    assert min(sizes.values()) >= 0
    assert sum(sizes.values()) == (wanted_total(deployment) if deployment.spec.replicas else 0)


def a_deployment(replicas: int) -> Deployment:
    strategy = DeploymentStrategy(rolling_update=RollingUpdateDeployment(max_surge=0, max_unavailable=1))
    return Deployment(spec=DeploymentSpec(replicas=replicas, strategy=strategy))


def test_a_share_of_a_half_is_rounded_up() -> None:
    """Of 10 replicas a set has 5, another 3: with 15 wanted that is 7.5 and 4.5. What is left is the last one's."""
    sets = [a_set("1", 5, maximum=10), a_set("2", 3, maximum=10), a_set("3", 2, maximum=10)]
    assert proportional(a_deployment(15), sets) == {"1": 8, "2": 5, "3": 2}


def test_an_annotation_that_is_no_number_counts_as_none() -> None:
    spoilt = a_set("1", 4)
    spoilt.metadata.annotations[MAXIMUM] = "many"
    assert proportional(a_deployment(2), [spoilt]) == {"1": 2}

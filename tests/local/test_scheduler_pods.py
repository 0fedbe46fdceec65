"""Where the scheduler puts pods because of other pods: affinity, spread, ports of the machine; taints that end pods."""

from __future__ import annotations

from typing import Any

import pytest
from test_scheduler import CLASSES, HOPELESS, NO_VICTIMS, NODE, POD, UNFIT, Cluster, a_cluster, a_node, a_pod

from kfcore.api.meta import Manifest
from kfcore.client.errors import NotFound

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
NOT_AWAY = "node(s) didn't match pod anti-affinity rules"
UNWANTED = "node(s) didn't satisfy existing pods anti-affinity rules"
NOT_NEAR = "node(s) didn't match pod affinity rules"
UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_PORTS = "node(s) didn't have free ports for the requested pod ports"


def node(name: str, zone: str = "", **spec: Any) -> Manifest:
    made = a_node(name, **spec)
    made["metadata"]["labels"] = {HOST: name, **({ZONE: zone} if zone else {})}
    return made


def term(app: str, key: str = HOST, **more: Any) -> Manifest:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def away(*terms: Manifest) -> Manifest:
    return {"podAntiAffinity": {REQUIRED: list(terms)}}


def near(*terms: Manifest) -> Manifest:
    return {"podAffinity": {REQUIRED: list(terms)}}


def app(name: str, of: str = "web", **spec: Any) -> Manifest:
    return a_pod(name, labels={"app": of}, **spec)


def spread(key: str = HOST, **more: Any) -> list[Manifest]:
    selector = {"matchLabels": {"app": "web"}}
    return [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, **more}]


# ── affinity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pods_that_keep_away_from_each_other_have_a_node_each_and_the_last_waits() -> None:
    async with a_cluster(node("a"), node("b")) as cluster:
        await cluster.create(*(app(f"web-{index}", affinity=away(term("web"))) for index in range(3)))
        assert sorted((await cluster.bound()).values()) == ["a", "b"]
        why = f"0/2 nodes are available: 2 {NOT_AWAY}. preemption: 0/2 nodes are available: 2 {NO_VICTIMS}."
        assert await cluster.why("web-2") == why
        await cluster.end("web-0")
        assert "web-2" in await cluster.bound()


async def test_a_pod_does_not_come_near_one_that_keeps_away_from_it() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(app("shy", "db", affinity=away(term("web"))), app("web"))
        assert await cluster.why("web") == UNFIT.format(UNWANTED, NO_VICTIMS)
        await cluster.create(app("other", "cache"))
        assert set(await cluster.bound()) == {"shy", "other"}
        await cluster.remove("shy")
        assert "web" in await cluster.bound()


async def test_a_pod_that_wants_another_near_waits_for_it() -> None:
    async with a_cluster(node("a", "north"), node("b", "south")) as cluster:
        await cluster.create(app("web", affinity=near(term("db", ZONE))))
        assert NOT_NEAR in await cluster.why("web")
        assert HOPELESS in await cluster.why("web")
        await cluster.create(app("db", "db", nodeSelector={HOST: "b"}))
        assert await cluster.bound() == {"db": "b", "web": "b"}


async def test_a_label_that_comes_later_counts_too() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(app("db", "other"), app("web", affinity=near(term("db"))))
        assert set(await cluster.bound()) == {"db"}
        await cluster.client.patch(POD, "db", "default", {"metadata": {"labels": {"app": "db"}}})
        await cluster.settle()
        assert set(await cluster.bound()) == {"db", "web"}


async def test_the_first_of_pods_that_want_to_be_together_goes_anywhere_and_the_others_follow() -> None:
    async with a_cluster(node("a"), node("b")) as cluster:
        await cluster.create(*(app(f"web-{index}", affinity=near(term("web"))) for index in range(3)))
        assert set((await cluster.bound()).values()) == {"a"}


@pytest.mark.parametrize(
    ("where", "kept_away"),
    [
        ({}, False),
        ({"namespaces": ["other"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, False),
    ],
    ids=str,
)
async def test_namespaces_are_ones_own_unless_said_otherwise(where: Manifest, kept_away: bool) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"team": "a"}}}
    async with a_cluster(node("here"), namespace) as cluster:
        theirs = app("theirs")
        theirs["metadata"]["namespace"] = "other"
        await cluster.client.create(POD, theirs)
        await cluster.settle()
        await cluster.create(app("ours", affinity=away(term("web", **where))))
        assert ("ours" not in await cluster.bound()) is kept_away


async def test_only_pods_of_the_same_revision_are_kept_apart_by_a_label_key() -> None:
    async with a_cluster(node("here")) as cluster:
        affinity = away(term("web", matchLabelKeys=["hash"]))
        for name, revision in (("old", "1"), ("new", "2"), ("newer", "2")):
            pod = app(name, affinity=affinity)
            pod["metadata"]["labels"]["hash"] = revision
            await cluster.create(pod)
        assert set(await cluster.bound()) == {"old", "new"}


async def test_of_several_nodes_the_one_is_taken_that_is_preferred() -> None:
    discouraging = [{"key": "old", "effect": "PreferNoSchedule"}]
    async with a_cluster(node("a", taints=discouraging), node("b", "north"), node("c", "south")) as cluster:
        wish = [{"weight": 10, "podAffinityTerm": term("db")}]
        dislike = [{"weight": 10, "podAffinityTerm": term("web")}]
        of_nodes = [
            {"weight": 1, "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["south"]}]}}
        ]
        await cluster.create(app("db", "db", affinity={"nodeAffinity": {PREFERRED: of_nodes}}))
        await cluster.create(app("web", affinity={"podAffinity": {PREFERRED: wish}}))
        await cluster.create(app("other", "x", affinity={"podAntiAffinity": {PREFERRED: dislike}}))
        assert await cluster.bound() == {"db": "c", "web": "c", "other": "b"}


async def test_a_more_important_pod_takes_the_place_of_one_that_it_keeps_away_from() -> None:
    async with a_cluster(node("here"), *CLASSES) as cluster:
        await cluster.create(app("small"), app("bystander", "db"))
        await cluster.create(app("big", priorityClassName="high", affinity=away(term("web"))))
        assert [name for name, reason, _ in await cluster.events() if reason == "Preempted"] == ["small"]


# ── spread ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pods_are_spread_evenly() -> None:
    async with a_cluster(node("a", "north"), node("b", "north"), node("c", "south")) as cluster:
        for index in range(4):
            await cluster.create(app(f"web-{index}", topologySpreadConstraints=spread(ZONE)))
        where = list((await cluster.bound()).values())
        assert where.count("c") == 2
        await cluster.create(app("web-4", topologySpreadConstraints=spread(ZONE), nodeSelector={HOST: "c"}))
        assert "web-4" in await cluster.bound()  # the selector leaves one domain, which is even with itself
        ignoring = spread(ZONE, nodeAffinityPolicy="Ignore")
        await cluster.create(app("web-5", topologySpreadConstraints=ignoring, nodeSelector={HOST: "c"}))
        assert UNEVEN in await cluster.why("web-5")


async def test_on_one_node_a_spread_over_nodes_is_even_unless_more_are_demanded() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(*(app(f"web-{index}", topologySpreadConstraints=spread()) for index in range(3)))
        assert len(await cluster.bound()) == 3
        await cluster.create(app("more", topologySpreadConstraints=spread(minDomains=2)))
        assert await cluster.why("more") == UNFIT.format(UNEVEN, NO_VICTIMS)


async def test_a_spread_over_a_label_that_no_node_has_is_told() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(app("web", topologySpreadConstraints=spread(ZONE)))
        assert await cluster.why("web") == UNFIT.format(f"{UNEVEN} (missing required label)", HOPELESS)


async def test_a_spread_that_is_only_wished_for_decides_between_nodes_and_keeps_none_waiting() -> None:
    async with a_cluster(node("a"), node("b")) as cluster:
        wished = spread(whenUnsatisfiable="ScheduleAnyway")
        for index in range(2):
            await cluster.create(app(f"web-{index}", topologySpreadConstraints=wished))
        assert sorted((await cluster.bound()).values()) == ["a", "b"]


# ── ports of the machine ─────────────────────────────────────────────────────────────────────────────────────────────


def serving(name: str, port: int, **fields: Any) -> Manifest:
    pod = app(name)
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": port, **fields}]
    return pod


async def test_a_port_of_the_machine_is_given_away_once() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(serving("one", 80), serving("two", 80), serving("udp", 80, protocol="UDP"))
        assert set(await cluster.bound()) == {"one", "udp"}
        assert await cluster.why("two") == UNFIT.format(NO_PORTS, NO_VICTIMS)
        await cluster.end("one")
        assert "two" in await cluster.bound()


async def test_a_port_of_one_address_is_another_one_than_that_of_another() -> None:
    async with a_cluster(node("here")) as cluster:
        first, second = (serving(f"at-{last}", 80, hostIP=f"127.0.0.{last}") for last in (1, 2))
        await cluster.create(first, second, serving("everywhere", 80))
        assert set(await cluster.bound()) == {"at-1", "at-2"}


# ── a node that the pod's author has chosen ──────────────────────────────────────────────────────────────────────────


async def test_a_pod_that_names_its_node_counts_there_without_being_asked() -> None:
    async with a_cluster(node("here", unschedulable=True)) as cluster:
        await cluster.create(a_pod("chosen", cpu="3", nodeName="here"), a_pod("other", cpu="3"))
        await cluster.change_node({"spec": {"unschedulable": False}})
        assert await cluster.bound() == {"chosen": "here"}
        assert "Insufficient cpu" in await cluster.why("other")


async def test_a_pod_of_a_node_that_is_not_there_says_so_until_the_node_comes() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(a_pod("pod", cpu="3", nodeName="there"))
        assert await cluster.why("pod") == UNFIT.format("node(s) didn't match the requested node name", HOPELESS)
        await cluster.client.create(NODE, node("there"))
        await cluster.settle()
        await cluster.create(a_pod("second", cpu="3", nodeSelector={HOST: "there"}))
        assert "Insufficient cpu" in await cluster.why("second")


async def test_a_pod_of_a_node_that_is_not_there_can_be_deleted() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(a_pod("pod", nodeName="there"))
        await cluster.client.delete(POD, "pod", "default")
        await cluster.settle()
        with pytest.raises(NotFound):
            await cluster.client.get(POD, "pod", "default")


# ── taints that no pod may stay under ────────────────────────────────────────────────────────────────────────────────


async def exists(cluster: Cluster, name: str) -> bool:
    try:
        pod = await cluster.client.get(POD, name, "default")
    except NotFound:
        return False
    return pod.metadata.deletion_timestamp is None


GONE = {"key": "gone", "value": "", "effect": "NoExecute"}
FOR_A_MINUTE = {"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
FOR_EVER = {"operator": "Exists"}


async def test_pods_that_do_not_tolerate_a_taint_are_evicted_and_say_so() -> None:
    async with a_cluster(node("here")) as cluster:
        stays = [{"key": "gone", "operator": "Exists"}]
        await cluster.create(app("evicted"), app("stays", tolerations=stays))
        await cluster.clock.advance(1)
        await cluster.change_node({"spec": {"taints": [GONE]}})
        assert (await exists(cluster, "evicted"), await exists(cluster, "stays")) == (False, True)
        told = "evicted", "TaintManagerEviction", "Marking for deletion Pod default/evicted"
        assert told in await cluster.events()
        pod = (await cluster.client.get(POD, "evicted", "default")).raw
        [why] = [item for item in pod["status"]["conditions"] if item["type"] == "DisruptionTarget"]
        assert why["reason"] == "DeletionByTaintManager"


async def test_a_pod_stays_for_as_long_as_it_tolerates_a_taint() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(app("pod", tolerations=[FOR_A_MINUTE]))
        await cluster.change_node({"spec": {"taints": [GONE]}})
        await cluster.clock.advance(59)
        assert await exists(cluster, "pod")
        await cluster.clock.advance(2)
        await cluster.settle()
        assert not await exists(cluster, "pod")


async def test_of_several_tolerations_of_a_taint_the_first_counts() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(
            app("stays", tolerations=[FOR_EVER, FOR_A_MINUTE]), app("goes", tolerations=[FOR_A_MINUTE, FOR_EVER])
        )
        await cluster.change_node({"spec": {"taints": [GONE]}})
        await cluster.clock.advance(61)
        await cluster.settle()
        assert (await exists(cluster, "stays"), await exists(cluster, "goes")) == (True, False)


async def test_a_taint_that_goes_in_time_evicts_nobody() -> None:
    async with a_cluster(node("here")) as cluster:
        await cluster.create(app("pod", tolerations=[FOR_A_MINUTE]))
        await cluster.change_node({"spec": {"taints": [GONE]}})
        await cluster.clock.advance(30)
        await cluster.change_node({"spec": {"taints": [{"key": "gone", "effect": "NoExecute", "$patch": "delete"}]}})
        await cluster.clock.advance(60)
        await cluster.settle()
        assert await exists(cluster, "pod")
        assert "Cancelling deletion of Pod default/pod" in [message for _, _, message in await cluster.events()]

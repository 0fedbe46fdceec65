"""How pods without a network of their own find each other."""

from pathlib import Path
from typing import Any

import pytest

from kfcore.api.codec import load
from kfcore_local.environment import Variables
from kfcore_local.network import PORTS, LocalService, Network
from kfcore_local.pods import LocalPod


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "hosts", own_addresses=True)


def a_pod(name: str, owner: str = "", **labels: str) -> LocalPod:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels}
    if owner:
        metadata["ownerReferences"] = [{"name": owner, "uid": f"uid-{owner}", "controller": True}]
    return load(LocalPod, {"metadata": metadata})


def a_service(name: str, owner: str = "", port: int = 23456, target: Any = None, **selector: str) -> LocalService:
    metadata: dict[str, Any] = {"name": name, "namespace": "default"}
    if owner:
        metadata["ownerReferences"] = [{"name": owner, "uid": f"uid-{owner}", "controller": True}]
    spec = {"selector": selector, "ports": [{"port": port, "targetPort": target}]}
    return load(LocalService, {"metadata": metadata, "spec": spec})


def literal(**values: str) -> Variables:
    return Variables(values, frozenset(values))


PYTORCH = literal(MASTER_ADDR="digits-master-0", MASTER_PORT="23456", RANK="0")


def test_master_and_worker_are_told_the_same_address_and_port(network: Network) -> None:
    network.service_changed(a_service("digits-master-0", "digits", role="master"))
    master, worker = a_pod("digits-master-0", "digits", role="master"), a_pod("digits-worker-0", "digits")
    told = network.rewrite_variables(master, PYTORCH)
    assert told == network.rewrite_variables(worker, PYTORCH)
    assert told["MASTER_ADDR"] == network.add_pod(master)
    assert int(told["MASTER_PORT"]) in PORTS
    assert told["RANK"] == "0"


def test_names_are_known_before_the_operator_has_created_their_services(network: Network) -> None:
    master, worker = a_pod("digits-master-0", "digits", role="master"), a_pod("digits-worker-0", "digits")
    address = network.add_pod(master)
    told = network.rewrite_variables(worker, PYTORCH)
    network.service_changed(a_service("digits-master-0", "digits", role="master"))
    assert told["MASTER_ADDR"] == address
    assert network.rewrite_variables(master, PYTORCH) == told


def test_two_jobs_with_the_same_port_get_different_ones(network: Network) -> None:
    one = network.rewrite_variables(a_pod("a-worker-0", "a"), literal(PEER="a-worker-0:2222"))
    other = network.rewrite_variables(a_pod("b-worker-0", "b"), literal(PEER="b-worker-0:2222"))
    assert one["PEER"].partition(":")[2] != other["PEER"].partition(":")[2]


def test_the_names_inside_a_json_value_are_replaced(network: Network) -> None:
    value = '{"cluster":{"worker":["job-worker-0.default.svc:2222","job-worker-1.default.svc.cluster.local:2222"]}}'
    told = network.rewrite_variables(a_pod("job-worker-0", "job"), literal(TF_CONFIG=value))["TF_CONFIG"]
    assert "job-worker" not in told
    assert told.startswith('{"cluster":{"worker":["127.')


def test_a_coordinator_is_mapped_too(network: Network) -> None:
    variables = literal(COORDINATOR_ADDRESS="job-worker-0", COORDINATOR_PORT="6666")
    told = network.rewrite_variables(a_pod("job-worker-1", "job"), variables)
    assert int(told["COORDINATOR_PORT"]) in PORTS


def test_a_service_of_somebody_else_keeps_its_target_port(network: Network) -> None:
    network.service_changed(a_service("web", port=80, target=8080, app="web"))
    told = network.rewrite_variables(a_pod("client"), literal(URL="http://web:80/path", NAME="web/path"))
    assert told["URL"].startswith("http://127.")
    assert told["URL"].endswith(":8080/path")
    assert told["NAME"] == "web/path"


def test_values_of_references_stay_as_they_are(network: Network) -> None:
    network.service_changed(a_service("job-worker-0", "job"))
    values = Variables({"POD_NAME": "job-worker-0"}, frozenset())
    assert network.rewrite_variables(a_pod("job-worker-0", "job"), values) == {"POD_NAME": "job-worker-0"}


def test_a_file_whose_name_resembles_a_peers_is_left_alone(network: Network) -> None:
    pod = a_pod("digits-worker-0", "digits")
    assert network.rewrite_variables(pod, literal(FILE="digits-0.py"))["FILE"] == "digits-0.py"
    assert network.rewrite_argument(pod, "digits-master-0") == "digits-master-0"


def test_a_program_may_have_words_that_are_names_of_services(network: Network) -> None:
    network.service_changed(a_service("web"))
    program = "from aiohttp import web\nfetch('web')\nfetch('http://web:80')"
    lines = network.rewrite_argument(a_pod("client"), program).splitlines()
    assert lines[0] == "from aiohttp import web"
    assert lines[1].startswith("fetch('127.")
    assert lines[2].startswith("fetch('http://127.")
    assert network.rewrite_argument(a_pod("client"), "ping web").startswith("ping 127.")


def test_arguments_name_services(network: Network) -> None:
    network.service_changed(a_service("digits-master-0", "digits"))
    script = "until nslookup digits-master-0; do sleep 2; done"
    assert "nslookup 127." in network.rewrite_argument(a_pod("digits-worker-0", "digits"), script)


def test_a_recreated_pod_has_the_address_of_its_service(network: Network) -> None:
    network.service_changed(a_service("digits-master-0", role="master"))
    first, second = a_pod("digits-master-0", role="master"), a_pod("digits-master-0b", role="master")
    address = network.add_pod(first)
    network.remove_pod(first)
    assert network.add_pod(second) == address


def test_the_hosts_file_lists_services_and_forgets_deleted_ones(network: Network) -> None:
    service = a_service("digits-master-0")
    network.service_changed(service)
    assert "digits-master-0.default.svc.cluster.local digits-master-0.default.svc" in network.hosts.read_text()
    network.service_deleted(service)
    assert network.hosts.read_text() == ""


def test_without_own_addresses_the_ports_keep_jobs_apart(tmp_path: Path) -> None:
    network = Network(tmp_path / "hosts", own_addresses=False)
    one = network.rewrite_variables(a_pod("a-0", "a"), literal(PEERS="a-0:1,a-1:1"))["PEERS"].split(",")
    assert one[0] != one[1]
    assert all(peer.startswith("127.0.0.1:") for peer in one)


def test_two_servers_that_listen_at_all_addresses_do_not_meet(network: Network) -> None:
    one, other = a_pod("one"), a_pod("other")
    addresses = network.add_pod(one), network.add_pod(other)
    told = [network.rewrite_argument(pod, "--ip=0.0.0.0") for pod in (one, other)]
    assert told == [f"--ip={address}" for address in addresses]
    assert network.rewrite_argument(one, "10.0.0.0.0") == "10.0.0.0.0"

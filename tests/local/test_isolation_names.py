"""What names lead to in the network of isolated pods, and what a kubelet writes for their lookup. No process runs."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from kfcore.api.codec import load
from kfcore_local.isolation import dns, pod_files
from kfcore_local.isolation.directory import Directory, Door, Found, RoutedService, RoutedSlice
from kfcore_local.isolation.name_server import NameServer
from kfcore_local.pods import LocalPod


def a_service(name: str, **spec: Any) -> RoutedService:
    return load(RoutedService, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def a_slice(service: str, *endpoints: dict[str, Any], port: int = 8080) -> RoutedSlice:
    labels = {"kubernetes.io/service-name": service}
    ports = [{"name": "", "port": port, "protocol": "TCP"}]
    metadata = {"name": f"{service}-x", "namespace": "default", "labels": labels}
    return load(RoutedSlice, {"metadata": metadata, "endpoints": list(endpoints), "ports": ports})


def an_endpoint(address: str, *, ready: bool = True, **fields: Any) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {"ready": ready}, **fields}


def a_pod(**spec: Any) -> LocalPod:
    return load(LocalPod, {"metadata": {"name": "web-0", "namespace": "team"}, "spec": spec})


@pytest.fixture
def directory() -> Directory:
    made = Directory()
    made.put_service(a_service("web", clusterIP="10.96.0.20", ports=[{"port": 80, "targetPort": 8080}]))
    made.put_service(a_service("sets", clusterIP="None", ports=[{"port": 80}]))
    made.put_slice(a_slice("web", an_endpoint("10.244.0.5"), an_endpoint("10.244.0.6", ready=False)))
    first, second = an_endpoint("10.244.0.7", hostname="sets-0"), an_endpoint("10.244.0.8", ready=False)
    made.put_slice(a_slice("sets", first, second))
    return made


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web.default.svc", Found(("10.96.0.20",))),
        ("sets.default.svc", Found(("10.244.0.7",))),
        ("sets-0.sets.default.svc", Found(("10.244.0.7",))),
        ("sets-1.sets.default.svc", None),
        ("10-244-0-5.web.default.svc", Found(("10.244.0.5",))),
        ("10-244-0-7.sets.default.svc", None),
        ("web.other.svc", None),
        ("web.default", None),
        ("10-244-0-5.default.pod", Found(("10.244.0.5",))),
        ("svc", None),
    ],
)
def test_a_full_name_leads_to_a_cluster_ip_or_to_what_is_ready(
    directory: Directory, name: str, found: Found | None
) -> None:
    assert directory.find(f"{name}.cluster.local") == found


def test_an_external_name_is_an_alias(directory: Directory) -> None:
    directory.put_service(a_service("db", type="ExternalName", externalName="db.example.com"))
    assert directory.find("db.default.svc.cluster.local") == Found(alias="db.example.com")


def test_a_cluster_ip_has_a_door_for_each_port_with_a_ready_endpoint(directory: Directory) -> None:
    assert list(directory.doors()) == [Door("10.96.0.20", 80, (("10.244.0.5", 8080),))]
    directory.put_slice(a_slice("web", an_endpoint("10.244.0.5", ready=False)))
    assert list(directory.doors()) == []


def a_question(name: str, kind: int = dns.A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_a_question_is_answered_with_each_address() -> None:
    question = dns.read_question(a_question("Web.default.svc.cluster.local"))
    assert (question.name, question.kind) == ("web.default.svc.cluster.local", dns.A)
    answer = dns.answer(question, ["10.96.0.20", "10.96.0.21"])
    number, flags, questions, answers = struct.unpack_from(">HHHH", answer)
    assert (number, flags & 0x8000, flags & 0xF, questions, answers) == (7, 0x8000, dns.NO_ERROR, 1, 2)
    assert answer.endswith(bytes([10, 96, 0, 21]))


def test_of_a_name_that_is_there_other_types_have_no_answer_and_no_error() -> None:
    answer = dns.answer(dns.read_question(a_question("web", kind=28)), ["10.96.0.20"])
    assert struct.unpack_from(">HH", answer, 4) == (1, 0)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.96.0.20", "web.default.svc.cluster.local"),
        ("10.244.0.5", "10-244-0-5.web.default.svc.cluster.local"),
        ("10.244.0.7", "sets-0.sets.default.svc.cluster.local"),
    ],
)
def test_an_address_of_the_cluster_has_its_name(directory: Directory, address: str, name: str) -> None:
    answer = asked(directory, address)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    assert struct.unpack_from(">HH", answer, 4) == (1, 1)
    assert answer.endswith(labels + b"\0")


def test_an_address_of_a_pod_without_a_service_has_no_name_and_nobody_else_is_asked(directory: Directory) -> None:
    _, flags, _, answers = struct.unpack_from(">HHHH", asked(directory, "10.244.0.9"))
    assert (flags & 0xF, answers) == (dns.NO_NAME, 0)


def test_an_external_name_may_be_one_of_the_cluster(directory: Directory) -> None:
    directory.put_service(a_service("front", type="ExternalName", externalName="web.default.svc.cluster.local"))
    answer = NameServer(directory, "10.96.0.1").known(a_question("front.default.svc.cluster.local"))
    assert answer is not None
    assert struct.unpack_from(">H", answer, 6) == (2,)
    assert answer.endswith(bytes([10, 96, 0, 20]))


async def test_another_machines_name_is_looked_for_while_others_are_answered(directory: Directory) -> None:
    """Whoever looks for it takes their time: nobody else may have to wait for that."""
    directory.put_service(a_service("db", type="ExternalName", externalName="localhost"))
    server = NameServer(directory, "10.96.0.1")
    assert server.known(a_question("db.default.svc.cluster.local")) is None
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        datagrams, connections = socket.socket(type=socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
        for each in (asking, datagrams, connections):
            each.setblocking(False)
        datagrams.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(datagrams, connections))
        asking.connect(datagrams.getsockname())
        await loop.sock_sendall(asking, a_question("db.default.svc.cluster.local"))
        async with asyncio.timeout(60):
            answer = await loop.sock_recv(asking, 65535)
        serving.cancel()
        await asyncio.wait([serving])
    assert answer.endswith(bytes([127, 0, 0, 1]))


def asked(directory: Directory, address: str) -> bytes:
    question = a_question(".".join(reversed(address.split("."))) + ".in-addr.arpa", dns.PTR)
    answer = NameServer(directory, "10.96.0.1").known(question)
    assert answer is not None
    return answer


@pytest.mark.parametrize("message", [b"", b"\0" * 12, a_question("a")[:-3], a_question("a")[:2] + b"\x80" + b"\0" * 20])
def test_what_is_no_question_is_refused(message: bytes) -> None:
    with pytest.raises(dns.NotAQuestion):
        dns.read_question(message)


def test_the_files_of_a_pod_are_those_of_a_kubelet() -> None:
    pod = a_pod(hostname="web-0", subdomain="web", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["db", "store"]}])
    files = pod_files.files(pod, "10.244.0.5", "10.244.0.1", ["lan"])
    assert files["/etc/hostname"] == "web-0\n"
    assert "10.244.0.5\tweb-0.web.team.svc.cluster.local\tweb-0\n" in files["/etc/hosts"]
    assert "10.1.1.1\tdb store\n" in files["/etc/hosts"]
    assert files["/etc/resolv.conf"].splitlines() == [
        "nameserver 10.244.0.1",
        "search team.svc.cluster.local svc.cluster.local cluster.local lan",
        "options ndots:5",
    ]
    assert files["/etc/nsswitch.conf"].endswith("hosts: files dns\n")


def test_a_pods_own_dns_settings_are_added_or_all_that_there_is() -> None:
    config = {"nameservers": ["1.1.1.1"], "searches": ["mine"], "options": [{"name": "ndots", "value": "2"}]}
    added = pod_files.files(a_pod(dnsConfig=config), "10.244.0.5", "10.244.0.1", [])["/etc/resolv.conf"]
    assert "nameserver 10.244.0.1\nnameserver 1.1.1.1\n" in added
    assert " cluster.local mine\noptions ndots:2\n" in added
    alone = pod_files.files(a_pod(dnsPolicy="None", dnsConfig=config), "10.244.0.5", "10.244.0.1", ["lan"])
    assert alone["/etc/resolv.conf"] == "nameserver 1.1.1.1\nsearch mine\noptions ndots:2\n"


def test_a_long_name_is_cut_to_a_hostname() -> None:
    pod = load(LocalPod, {"metadata": {"name": "a" * 62 + "-worker-0", "namespace": "team"}})
    assert pod_files.hostname(pod) == "a" * 62

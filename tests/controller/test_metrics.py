"""What an operator shows of itself is what docs/metrics.md says, and only to those who may see it."""

import asyncio
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from certificates import self_signed
from fleet import Fleet, FleetReconciler, a_fleet, serve_fleets

from kfcore.api.core import Pod
from kfcore.client.cluster import ClusterClient
from kfcore.client.errors import InternalError
from kfcore.client.retry import RetryingTransport
from kfcore.client.transport import Response
from kfcore.clock import SystemClock
from kfcore.controller.leader_election import LeaderElector
from kfcore.controller.manager import Manager
from kfcore.controller.metrics_access import Certificate, SubjectAccessReview, TokenReview
from kfcore.pytest_plugin import RunningApiServer
from kfcore.testing import FakeClient, FaultyTransport

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[int]:
    """The port of the metrics."""
    task = asyncio.create_task(manager.run())
    async with asyncio.timeout(60):
        while "metrics" not in manager.ports:  # noqa: ASYNC110 — a port is no event
            await asyncio.sleep(0.01)
    yield manager.ports["metrics"]
    manager.stop()
    await asyncio.wait_for(task, 60)


async def scrape(port: int) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of every name in the tables."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def shown(text: str) -> dict[str, tuple[str, set[str]]]:
    """The same of a scrape; `le` is no label of a histogram, but how it is written."""
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        samples = re.findall(rf"^{name}(?:_count|_bucket|_sum)?(?:{{(.*?)}})? ", text, re.MULTILINE)
        labels = [set(re.findall(r'(\w+)="', sample)) - {"le"} for sample in samples]
        assert labels, f"{name} has no sample"
        assert all(one == labels[0] for one in labels)
        found[name] = kind, labels[0]
    return found


async def test_every_metric_is_documented_with_its_type_and_labels_and_the_other_way_round(
    api_server: RunningApiServer,
) -> None:
    serve_fleets(FakeClient(server=api_server.api))
    async with await ClusterClient.at(api_server.url, token=api_server.token) as client:
        assert isinstance(client.transport, RetryingTransport)
        client.transport.retry_counts["503", "GET"] += 1
        lease = LeaderElector(client, SystemClock(), name="fleets", namespace="default", identity="me")
        manager = Manager(client, metrics_address="127.0.0.1:0", leader_election=lease)
        FleetReconciler.add_to(manager)
        await client.create(Fleet, a_fleet("a", 2))
        async with running(manager) as port:
            async with asyncio.timeout(60):
                while not manager.controllers[0].results["success"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            text = await scrape(port)
    expected = documented()
    if sys.platform != "linux":
        expected = {name: what for name, what in expected.items() if not name.startswith("process_")}
    assert shown(text) == expected
    assert 'leader_election_master_status{name="fleets"} 1.0' in text
    assert re.search(r'rest_client_requests_total\{code="201",host="127.0.0.1",method="POST"\} \d', text)
    assert 'rest_client_request_retries_total{code="503",host="127.0.0.1",method="GET"} 1.0' in text


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    self_signed(tmp_path)
    return Certificate.of_directory(tmp_path)


async def test_secured_metrics_are_for_those_only_whom_the_api_server_lets(certificate: Certificate) -> None:
    client = FakeClient()
    manager = Manager(client, metrics_address="127.0.0.1:0", metrics_certificate=certificate)
    known = Response(201, json.dumps({"status": {"authenticated": True, "user": {"username": "prometheus"}}}).encode())
    unknown = Response(201, json.dumps({"status": {"authenticated": False}}).encode())
    refused = Response(201, json.dumps({"status": {"allowed": False}}).encode())
    allowed = Response(201, json.dumps({"status": {"allowed": True}}).encode())
    faults = client.faults
    trust = ssl.create_default_context(cafile=str(certificate.certificate))
    async with running(manager) as port, aiohttp.ClientSession() as http:

        async def ask(token: str = "") -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with http.get(f"https://127.0.0.1:{port}/metrics", ssl=trust, headers=headers) as answer:
                return answer.status

        assert await ask() == 401
        faults.fail("create", TokenReview, unknown)
        assert await ask("stranger") == 401
        faults.fail("create", TokenReview, known)
        faults.fail("create", SubjectAccessReview, refused)
        assert await ask("guest") == 403
        faults.fail("create", TokenReview, InternalError("oops"))
        assert await ask("scraper") == 503
        faults.fail("create", TokenReview, known)
        faults.fail("create", SubjectAccessReview, allowed)
        assert await ask("scraper") == 200
        assert await ask("scraper") == 200, "the API server is not asked again at once"


async def test_a_rotated_certificate_is_shown_and_one_that_is_half_written_is_not(certificate: Certificate) -> None:
    manager = Manager(FakeClient(), metrics_address="127.0.0.1:0", metrics_certificate=certificate)

    def shown(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    async with running(manager) as port:

        async def scraped() -> int:
            connector = aiohttp.TCPConnector(ssl=False)
            session = aiohttp.ClientSession(connector=connector)
            async with session as http, http.get(f"https://127.0.0.1:{port}/metrics") as answer:
                return answer.status

        first = await asyncio.to_thread(shown, port)
        for path in (certificate.certificate, certificate.key):
            path.write_text("half")
        assert await scraped() == 401
        assert await asyncio.to_thread(shown, port) == first
        self_signed(certificate.certificate.parent, name="renewed")
        assert await scraped() == 401
        assert await asyncio.to_thread(shown, port) == certificate.certificate.read_text()


def test_a_directory_without_a_certificate_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected tls\.crt and tls\.key"):
        Certificate.of_directory(tmp_path)


async def test_further_tries_are_counted() -> None:
    fake = FakeClient()
    assert isinstance(fake.transport, FaultyTransport)
    retrying = RetryingTransport(fake.transport)
    from kfcore.client.rest import RestClient

    fake.faults.fail("list", Pod, InternalError("oops"), times=2)
    await RestClient(retrying).list(Pod)
    assert retrying.retry_counts == {("500", "GET"): 2}

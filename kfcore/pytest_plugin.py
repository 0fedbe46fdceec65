"""The pytest plugin: fixtures for a test's own clock, cluster and API server. pytest loads it by its entry point, in
every project's runs, so it imports nothing until a fixture is asked for. The asynchronous ones need pytest-asyncio.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING or find_spec("pytest_asyncio"):
    from pytest_asyncio import fixture as async_fixture
else:
    async_fixture = pytest.fixture  # pytest says what is missing when one of them is asked for

if TYPE_CHECKING:
    from kfcore.apiserver.server import ApiServer
    from kfcore.client.cluster import ClusterClient
    from kfcore.client.rest import RestClient
    from kfcore.testing.client import FakeClient
    from kfcore.testing.clock import FakeClock


class RunningApiServer(msgspec.Struct, frozen=True):
    """The in-process API behind HTTP on a loopback port: `url` and `token` are what any Kubernetes client needs."""

    url: str
    token: str
    api: ApiServer

    async def connect(self) -> ClusterClient:
        """A client of its own; close it (`async with`)."""
        from kfcore.client.cluster import ClusterClient

        return await ClusterClient.at(self.url, token=self.token)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kfcore")
    group.addoption(
        "--kfcore-seeds",
        type=int,
        default=3,
        metavar="N",
        help="how many random seeds each test that takes `random_seed` is run with (default: 3); "
        "KFCORE_SEED=… repeats a run",
    )
    group.addoption(
        "--kfcore-first-seed",
        type=int,
        metavar="N",
        help="count these seeds from N on, the same in every run, instead of drawing them",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "random_seed" in metafunc.fixturenames:
        # Numbers, not seeds: pytest-xdist's workers must agree on the names of the tests.
        count = metafunc.config.getoption("--kfcore-seeds")
        metafunc.parametrize("random_seed", range(count), indirect=True, ids=[f"seed{n}" for n in range(count)])


@pytest.fixture
def random_seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """A seed that differs in every run, unless `--kfcore-first-seed` is given; the output of a failed test names it,
    `KFCORE_SEED` repeats it. What `random` draws follows from it too: the lengths of kfcore's delays, among others.
    """
    first: int | None = request.config.getoption("--kfcore-first-seed")
    if given := os.environ.get("KFCORE_SEED"):
        seed = int(given)
    elif first is not None:
        seed = first + request.param
    else:
        seed = random.SystemRandom().randrange(2**32)
    print(f"KFCORE_SEED={seed}")
    before = random.getstate()
    random.seed(seed)
    yield seed
    random.setstate(before)


@pytest.fixture
def fake_clock() -> FakeClock:
    """Time that stands still until the test moves it."""
    from kfcore.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def fake_client(fake_clock: FakeClock) -> FakeClient:
    """An empty cluster in this process, on `fake_clock`'s time."""
    from kfcore.testing.client import FakeClient

    return FakeClient(clock=fake_clock)


@async_fixture
async def api_server() -> AsyncIterator[RunningApiServer]:
    """The in-process API over HTTP, on the machine's time."""
    async with _serving() as server:
        yield server


@async_fixture
async def kube_client() -> AsyncIterator[RestClient]:
    """A client over HTTP: of the cluster that `KUBECONFIG` names, or, without it, of an in-process API.

    Of a real cluster, touch only `kube_namespace`.
    """
    from kfcore.client.cluster import ClusterClient

    if os.environ.get("KUBECONFIG"):
        async with await ClusterClient.connect() as client:
            yield client
        return
    async with _serving() as server, await server.connect() as client:
        yield client


@asynccontextmanager
async def _serving() -> AsyncIterator[RunningApiServer]:
    from kfcore.apiserver.http import HttpServer
    from kfcore.apiserver.server import ApiServer

    api, token = ApiServer(), secrets.token_urlsafe(16)
    server = HttpServer(api, token=token)
    await server.start()
    try:
        yield RunningApiServer(server.url, token, api)
    finally:
        await server.stop()
        await api.close()


@async_fixture
async def kube_namespace(kube_client: RestClient) -> AsyncIterator[str]:
    """A new namespace of `kube_client`'s cluster, deleted after the test."""
    from kfcore.api.core import Namespace

    name = f"kfcore-test-{secrets.token_hex(4)}"
    await kube_client.create(Namespace, {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await kube_client.delete(Namespace, name)

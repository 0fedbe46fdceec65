"""The API in this process behind a wire that breaks when a test says so."""

import pytest

from kfcore.testing import FakeClient, FakeClock, Faults, FaultyTransport


class Wire:
    """What went over the wire, and what is to go wrong on it."""

    def __init__(self, transport: FaultyTransport) -> None:
        self.calls = transport.calls
        self.faults: Faults = transport.faults

    @property
    def watches(self) -> int:
        return sum("watch" in call.query for call in self.calls)

    @property
    def lists(self) -> int:
        """Lists in pages, and streaming ones."""
        return sum("watch" not in call.query or "sendInitialEvents" in call.query for call in self.calls)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> FakeClient:
    """What somebody else uses to change objects."""
    return FakeClient(clock=clock)


@pytest.fixture
def client(server: FakeClient, clock: FakeClock) -> FakeClient:
    """What the cache uses: another wire to the same server."""
    return FakeClient(clock=clock, server=server.server)


@pytest.fixture
def wire(client: FakeClient) -> Wire:
    assert isinstance(client.transport, FaultyTransport)
    return Wire(client.transport)

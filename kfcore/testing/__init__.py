"""Testing an operator without a cluster: a real API server in this process, time that only the test moves, and faults
that happen when the test says so.

- `FakeClient`: the real client over the in-process API, filled with a test's objects.
- `reconcile`: one pass of a controller, by hand.
- `FakeClock`: the time of everything that waits; `advance(seconds)`, or `jump()` to the next timer.
- `client.faults` (`Faults`): this call fails with 409 twice, this watch breaks after three events, the cache lags. The
  same rules go around any transport with `FaultyTransport`.
- The pytest plugin (`kfcore.pytest_plugin`) has fixtures for these, for the API over HTTP, and for a real cluster.
"""

from kfcore.testing.client import FakeClient, add_object, schemaless_crd
from kfcore.testing.clock import FakeClock, settle
from kfcore.testing.faults import Faults, Rule
from kfcore.testing.faulty_transport import FaultyTransport
from kfcore.testing.reconciling import reconcile
from kfcore.testing.transport import InProcessTransport

__all__ = [
    "FakeClient",
    "FakeClock",
    "Faults",
    "FaultyTransport",
    "InProcessTransport",
    "Rule",
    "add_object",
    "reconcile",
    "schemaless_crd",
    "settle",
]

"""Testing an operator without a cluster: `FakeClient` (the real client over the in-process API), `FakeClock` (time that
only the test moves) and `reconcile` (one pass of a controller).
"""

from kfcore.testing.client import FakeClient, add_object, schemaless_crd
from kfcore.testing.clock import FakeClock, settle
from kfcore.testing.reconciling import reconcile
from kfcore.testing.transport import InProcessTransport

__all__ = [
    "FakeClient",
    "FakeClock",
    "InProcessTransport",
    "add_object",
    "reconcile",
    "schemaless_crd",
    "settle",
]

"""The API server over HTTP beside KMock's Kubernetes mode, which tests of operators use too: the same client, the same
requests, in the same run. Both serve from this process, and only their own processor time counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from benchmarks.figure import Figure
from benchmarks.server import load, processor_seconds, served

COUNT = 100
"""Pods. KMock goes through all that it has for each request: more of them would only lengthen the comparison."""
ROUNDS = 3


async def measure() -> list[Figure]:
    try:
        import kmock  # noqa: F401
    except ImportError:
        why = "kmock is not installed"
        return [Figure(f"the first {COUNT} pod creates over HTTP, as a multiple of KMock's rate", None, None, why)]
    ours, theirs = await _best(_ours), await _best(_kmock)
    creates, events = (their / our for our, their in zip(ours, theirs, strict=True))
    return [
        Figure(
            f"the first {COUNT} pod creates over HTTP, as a multiple of KMock's rate", creates, 1, "×", at_least=True
        ),
        Figure("KMock's own rate of them", COUNT / theirs[0], None, "/s", at_least=True),
        Figure(f"a watch's first {COUNT} pods over HTTP, as a multiple of KMock's rate", events, 1, "×", at_least=True),
    ]


async def _best(serve: Callable[[], AbstractAsyncContextManager[str]]) -> tuple[float, float]:
    """Processor seconds for the creates, and for the watch."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        async with serve() as url, load(url, COUNT) as client:
            for index, verb in enumerate(("create", "watch")):
                best[index] = min(best[index], await processor_seconds(client, verb))
    return best[0], best[1]


@asynccontextmanager
async def _ours() -> AsyncIterator[str]:
    async with served() as (_, url):
        yield url


@asynccontextmanager
async def _kmock() -> AsyncIterator[str]:
    from kmock import KubernetesEmulator, Server

    async with KubernetesEmulator() as emulator, Server(emulator) as server:
        emulator.resources["v1/pods"] = {}
        yield str(server.url).rstrip("/")

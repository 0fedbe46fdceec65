"""Any mixture of changes and faults ends as a run without faults does, and every subscriber's chain has no gap."""

import asyncio
import json
import random
from typing import Any

import pytest

from kfcore.api.core import Pod
from kfcore.cache.cache import Cache
from kfcore.cache.informer import Change
from kfcore.client.errors import ConnectionFailed
from kfcore.client.transport import Response
from kfcore.testing import FakeClient, FakeClock

GONE = Response(410, json.dumps({"kind": "Status", "reason": "Expired", "code": 410}).encode())
FAULTS: list[Response | Exception] = [
    GONE,
    Response(200, b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'),
    Response(500, b"oops"),
    Response(429, b""),
    Response(200, b"garbage\n"),
    Response(200, b'{"type":"DELETED","object":{"meta'),
    ConnectionFailed("reset"),
]


class Chain:
    """Holds what a subscriber was told, and that it fits together."""

    def __init__(self) -> None:
        self.objects: dict[str, Pod] = {}

    def __call__(self, change: Change[Pod]) -> None:
        name = change.object.name
        known = self.objects.get(name)
        if change.new is None:
            assert known is not None, f"{name} was deleted twice"
            assert known.metadata.uid == change.object.metadata.uid
            del self.objects[name]
            return
        assert known == change.old, f"the chain of {name} has a gap"
        if change.old is not None:
            assert change.old.metadata.uid == change.new.metadata.uid
        self.objects[name] = change.new


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming lists", "lists in pages"])
async def test_the_store_and_its_subscribers_end_up_equal_to_the_server(
    random_seed: int, streaming: bool, client: FakeClient, server: FakeClient, wire: Any, clock: FakeClock
) -> None:
    dice = random.Random(random_seed)
    cache, chain = Cache(client, clock, streaming_list=streaming), Chain()
    cache.informer(Pod).subscribe(chain)
    task = asyncio.create_task(cache.run())
    alive: set[str] = set()
    for step in range(60):
        for _ in range(dice.randrange(4)):
            name = f"pod-{dice.randrange(6)}"
            if name not in alive:
                spec = {"containers": [{"name": "main", "image": "none"}]}
                await server.create(Pod, {"metadata": {"name": name}, "spec": spec})
                alive.add(name)
            elif dice.random() < 0.5:
                await server.patch(Pod, name, "default", {"metadata": {"labels": {"step": str(step)}}})
            else:
                await server.delete(Pod, name, grace_period_seconds=0)
                alive.remove(name)
        if dice.random() < 0.4:
            for fault in dice.choices(FAULTS, k=dice.randrange(1, 3)):
                wire.faults.fail("watch", Pod, fault)
            if dice.random() < 0.3:
                wire.faults.fail("list", Pod, dice.choice([Response(500, b""), ConnectionFailed("reset")]))
            if dice.random() < 0.3:
                wire.faults.break_watch(Pod, after=dice.randrange(4))
            wire.faults.cut()
        await clock.advance(dice.choice([0, 0, 0.5, 5]))
    wire.faults.clear()
    await clock.advance(120)
    truth = await server.list(Pod)
    assert await cache.list(Pod) == truth
    assert sorted(chain.objects.values(), key=lambda pod: pod.name) == truth
    task.cancel()
    await asyncio.wait([task])

"""Which calls are tried again, when, and for how long."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from kfcore.client.errors import ConnectionFailed, NotConnected
from kfcore.client.retry import RetryingTransport, RetryPolicy
from kfcore.client.throttle import Throttle, ThrottledTransport
from kfcore.client.transport import Request, Response
from kfcore.testing import FakeClock

OK = Response(200, b"{}")
GET, POST = Request("GET", "/api/v1/pods"), Request("POST", "/api/v1/pods", body=b"{}")
JSON_PATCH = Request("PATCH", "/api/v1/pods/a", body=b"[]", content_type="application/json-patch+json")
MERGE_PATCH = Request("PATCH", "/api/v1/pods/a", body=b"{}", content_type="application/merge-patch+json")


class Script:
    """Answers as written down; every answer's time is noted."""

    def __init__(self, clock: FakeClock, *answers: Response | Exception) -> None:
        self.clock = clock
        self.answers = deque(answers)
        self.times: list[float] = []

    async def send(self, request: Request) -> Response:
        self.times.append(self.clock.monotonic())
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]:
        raise AssertionError("these tests open no stream")

    async def close(self) -> None: ...


async def call(script: Script, request: Request, seconds: float = 100) -> Response:
    transport = RetryingTransport(script, clock=script.clock, policy=RetryPolicy())
    task = asyncio.create_task(transport.send(request))
    await script.clock.advance(seconds)
    return await asyncio.wait_for(task, 60)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize("request_", [GET, POST, JSON_PATCH], ids=["GET", "POST", "JSON patch"])
async def test_too_many_requests_is_tried_again_when_the_server_says(clock: FakeClock, request_: Request) -> None:
    script = Script(clock, Response(429, b"", {"Retry-After": "7"}), OK)
    assert (await call(script, request_)).status == 200
    assert 7 <= script.times[1] <= 7.7


async def test_a_date_is_understood_too(clock: FakeClock) -> None:
    script = Script(clock, Response(429, b"", {"Retry-After": clock.now().strftime("%a, %d %b %Y %H:%M:09 GMT")}), OK)
    assert (await call(script, GET)).status == 200
    assert 9 <= script.times[1] <= 9.9


@pytest.mark.parametrize("fault", [Response(503, b""), Response(500, b""), ConnectionFailed("reset")], ids=str)
async def test_what_may_be_done_twice_is_tried_again(clock: FakeClock, fault: Response | Exception) -> None:
    for request in (GET, MERGE_PATCH):
        script = Script(clock, fault, fault, OK)
        assert (await call(script, request)).status == 200
        assert len(script.times) == 3


@pytest.mark.parametrize("request_", [POST, JSON_PATCH], ids=["POST", "JSON patch"])
async def test_what_may_not_is_left_to_the_caller(clock: FakeClock, request_: Request) -> None:
    script = Script(clock, ConnectionFailed("reset"), OK)
    with pytest.raises(ConnectionFailed):
        await call(script, request_)
    script = Script(clock, Response(500, b""), OK)
    assert (await call(script, request_)).status == 500


async def test_what_never_left_is_tried_again_whatever_it_is(clock: FakeClock) -> None:
    script = Script(clock, NotConnected("connection refused"), OK)
    assert (await call(script, POST)).status == 200


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_an_answer(clock: FakeClock, status: int) -> None:
    script = Script(clock, Response(status, b""))
    assert (await call(script, GET)).status == status
    assert len(script.times) == 1


async def test_an_eviction_that_a_budget_forbids_is_the_caller_s_business(clock: FakeClock) -> None:
    script = Script(clock, Response(429, b"", {"Retry-After": "10"}))
    request = Request("POST", "/api/v1/namespaces/default/pods/a/eviction")
    assert (await call(script, request)).status == 429
    assert len(script.times) == 1


async def test_many_who_fail_at_once_do_not_come_back_at_once(clock: FakeClock) -> None:
    scripts = [Script(clock, Response(503, b""), OK) for _ in range(20)]
    calls = [asyncio.create_task(RetryingTransport(script, clock=clock).send(GET)) for script in scripts]
    await clock.advance(10)
    await asyncio.gather(*calls)
    second_tries = {script.times[1] for script in scripts}
    assert len(second_tries) > 10
    assert all(0.05 <= time <= 0.1 for time in second_tries)


async def test_there_is_an_end_and_the_last_answer_counts(clock: FakeClock) -> None:
    script = Script(clock, Response(503, b"down"))
    assert (await call(script, GET)).body == b"down"
    assert len(script.times) == 6
    assert script.times[-1] <= 30
    script = Script(clock, Response(429, b"", {"Retry-After": "20"}))
    assert (await call(script, GET)).status == 429
    assert len(script.times) == 2


async def test_a_throttle_lets_a_burst_through_and_then_its_rate(clock: FakeClock) -> None:
    script = Script(clock, OK)
    transport = ThrottledTransport(script, Throttle(rate=2, burst=3), clock=clock)
    calls = [asyncio.create_task(transport.send(GET)) for _ in range(6)]
    await clock.advance(10)
    await asyncio.gather(*calls)
    assert script.times == [0, 0, 0, 0.5, 1.0, 1.5]


async def test_a_throttle_does_not_hold_up_the_renewal_of_a_lease(clock: FakeClock) -> None:
    script = Script(clock, OK)
    transport = ThrottledTransport(script, Throttle(rate=1), clock=clock)
    lease = Request("PATCH", "/apis/coordination.k8s.io/v1/namespaces/default/leases/operator", body=b"{}")
    calls = [asyncio.create_task(transport.send(request)) for request in (GET, GET, GET, lease)]
    await clock.advance(10)
    await asyncio.gather(*calls)
    assert script.times == [0, 0, 1, 2]


def test_a_throttle_that_lets_nothing_through_is_refused() -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        Throttle(rate=0)

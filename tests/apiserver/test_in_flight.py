"""A storm of requests: those beyond what is served at once are turned away, and told when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice

import aiohttp
import pytest

from kfcore.apiserver.authentication import User
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.in_flight import WRITES, InFlight
from kfcore.apiserver.request import Request, Response
from kfcore.client.errors import TooManyRequests

TOKEN = "a-token-for-tests"


class Slow:
    """Answers nothing but watches until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0

    def authenticate(self, token: str) -> User | None:
        return None

    async def handle(self, request: Request) -> Response:
        self.begun += 1
        if "watch" not in request.query:
            await self.go.wait()
        return Response(200, {"content-type": "application/json"}, b"{}")


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Slow, str]]:
    handler = Slow()
    server = HttpServer(handler, token=TOKEN)
    await server.start()
    yield handler, server.url
    handler.go.set()
    await server.stop()


async def test_a_storm_is_answered_with_429_and_when_to_come_back(slow: tuple[Slow, str]) -> None:
    handler, url = slow
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def write() -> aiohttp.ClientResponse:
            answer = await session.post("/api/v1/namespaces/default/configmaps", data=b"{}")
            await answer.read()
            return answer

        storm = [asyncio.create_task(write()) for _ in range(WRITES + 50)]
        refused = [await answer for answer in islice(asyncio.as_completed(storm), 50)]
        assert {answer.status for answer in refused} == {429}
        assert refused[0].headers["retry-after"] == "1"
        assert (await refused[0].json())["reason"] == "TooManyRequests"
        watch = await session.get("/api/v1/configmaps?watch=1")
        assert watch.status == 200
        handler.go.set()
        answers = await asyncio.gather(*storm)
        assert sum(answer.status == 200 for answer in answers) == WRITES


def test_reads_and_writes_have_places_of_their_own() -> None:
    in_flight = InFlight(reads=1, writes=1)
    with in_flight.request("GET", "/api/v1/pods", ""), in_flight.request("POST", "/api/v1/pods", ""):
        with pytest.raises(TooManyRequests), in_flight.request("GET", "/api/v1/pods", ""):
            pass
        with in_flight.request("GET", "/api/v1/namespaces/a/pods/p/log", "follow=true"):
            pass
    with in_flight.request("GET", "/api/v1/pods", ""):
        pass

"""Asking notebook servers what they do: a Notebook comes in, an `Activity` or an `Unreachable` goes out.

A server is somebody else's program. It is asked at its own Service and nowhere else (no redirect is followed), with a
time limit, and of what it answers no more than a megabyte is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from kfcore.clock import Clock
from kfcore.services import ServiceDoor
from kfcore_notebook.api import ACTIVITY_PATH, Notebook
from kfcore_notebook.idleness import Activity, parse_time
from kfcore_notebook.settings import NotebookSettings

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT = 10.0
MOST = 1 << 20


class Unreachable(Exception):
    """The server's activity could not be learnt. `reason` is one word for a condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Servers(Protocol):
    """Who can be asked for a notebook's activity."""

    async def ask(self, notebook: Notebook) -> Activity:
        """Raises `Unreachable`."""


class _Missing(Exception):
    """404: this server has nothing of the kind."""


class HttpServers:
    """Asks over HTTP. `door` says how a Service is reached where the cluster's DNS does not."""

    def __init__(
        self,
        settings: NotebookSettings,
        clock: Clock,
        *,
        session: ClientSession | None = None,
        door: ServiceDoor | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._session = session
        self._owns_session = session is None
        self._door = door

    async def close(self) -> None:
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    async def ask(self, notebook: Notebook) -> Activity:
        base, headers = self._address(notebook)
        try:
            async with self._clock.timeout(TIMEOUT):
                return await self._ask(notebook, base, headers)
        except TimeoutError:
            raise Unreachable("Timeout", f"the server did not answer within {TIMEOUT:.0f} seconds") from None

    async def _ask(self, notebook: Notebook, base: str, headers: Mapping[str, str]) -> Activity:
        if path := notebook.metadata.annotations.get(ACTIVITY_PATH):
            if not path.startswith("/") or path.startswith("//") or "\\" in path:
                raise Unreachable("InvalidActivityPath", f"{ACTIVITY_PATH}={path}: expected a path such as /activity")
            try:
                answer = await self._get(base + path, headers)
            except _Missing:
                raise Unreachable("NotFound", f"the server has no {path}: see the annotation {ACTIVITY_PATH}") from None
            last = parse_time(str(answer.get("last_activity"))) if isinstance(answer, dict) else None
            if last is None:
                raise Unreachable("UnexpectedAnswer", f'{path}: expected {{"last_activity": "<RFC 3339 time>"}}')
            return Activity(last=last)
        busy, times = False, list[datetime]()
        for source in self._settings.cull_sources:
            try:
                answer = await self._get(f"{base}{notebook.prefix}/api/{source}", headers)
            except _Missing:
                if source == "kernels":
                    raise Unreachable("NotFound", "the server has no /api/kernels: is it a Jupyter server?") from None
                continue  # terminals are an extension that a server need not have
            for entry in _entries(answer, source):
                busy = busy or entry.get("execution_state", "idle") != "idle"
                if time := parse_time(str(entry.get("last_activity"))):
                    times.append(time)
        return Activity(busy, max(times, default=None))

    def _address(self, notebook: Notebook) -> tuple[str, Mapping[str, str]]:
        name, namespace = notebook.name, notebook.namespace
        if self._door is not None:
            opened = self._door(namespace, name, 80)
            if opened is None:
                raise Unreachable("NoEndpoint", f"no pod is behind the Service {name}")
            return opened.url, opened.headers
        if self._settings.dev:
            return f"http://localhost:8001/api/v1/namespaces/{namespace}/services/{name}:http-{name}/proxy", {}
        return f"http://{name}.{namespace}.svc.{self._settings.cluster_domain}", {}

    async def _get(self, url: str, headers: Mapping[str, str]) -> Any:
        import aiohttp

        try:
            async with self._client().get(url, headers=headers, allow_redirects=False) as response:
                if response.status == 404:
                    raise _Missing
                if response.status != 200:
                    raise _refused(response.status, url)
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > MOST:
                        raise Unreachable("UnexpectedAnswer", f"{url}: more than a megabyte")
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable("Unreachable", f"{url}: {type(error).__name__}: {error}") from error
        try:
            return json.loads(body)
        except ValueError:
            raise Unreachable("UnexpectedAnswer", f"{url}: the answer is no JSON") from None

    def _client(self) -> ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _refused(status: int, url: str) -> Unreachable:
    if status == 403:
        return Unreachable(
            "Forbidden",
            f"{url}: 403: the server or a mesh's policy keeps the operator out; "
            "with Istio, an AuthorizationPolicy must let it GET */api/kernels",
        )
    if 300 <= status < 400:
        return Unreachable("Redirected", f"{url}: {status}: redirects are not followed")
    return Unreachable("UnexpectedAnswer", f"{url}: {status}, expected 200")


def _entries(answer: Any, source: str) -> Iterator[dict[str, Any]]:
    if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
        raise Unreachable("UnexpectedAnswer", f"/api/{source}: expected a list of objects")
    yield from answer

"""Play the API steps of tests/golden/api, recorded from kube-apiserver 1.36, and compare the answers.

    python tests/golden/conformance.py      a server as `kfcore local up --without kubelet …` has it, over HTTP

Volatile values (uids, versions, times, generated names) become placeholders, the same value the same one. A step says
how closely it compares: `exact`, `subset` (all that was recorded is there) or `status` (code, reason, causes' fields).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from kfcore.apiserver.authentication import ADMIN, ANONYMOUS
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock, settle

RECORDINGS = Path(__file__).parent / "api"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

EXCEPTIONS: dict[tuple[str, int], str] = {
    ("watch", 20): "a resourceVersion that is no number is the client's mistake: 400 here, where the recorded server "
    "answers 500 without a reason",
}
"""Steps (numbered from 1) whose recorded answers we do not imitate, and why."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes | AsyncIterator[bytes]


class Server(Protocol):
    """What is played to. `lag` is how long, in seconds, it takes to do what nobody waits for; `patience` is how many
    times as long as the recorded server it may take for what is waited for.
    """

    lag: float
    patience: int

    async def call(
        self, method: str, target: str, headers: dict[str, str], body: bytes, *, anonymous: bool
    ) -> Answer: ...

    async def sleep(self, seconds: float) -> None: ...


class InProcess:
    """`ApiServer.handle`, under a clock that moves when a step waits."""

    lag = 1.0
    patience = 1

    def __init__(self, server: ApiServer, clock: FakeClock) -> None:
        self._server = server
        self._clock = clock

    async def call(self, method: str, target: str, headers: dict[str, str], body: bytes, *, anonymous: bool) -> Answer:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        user = ANONYMOUS if anonymous else ADMIN
        request = Request(method, unquote(url.path), query, headers, body, user.name, user.groups)
        answer = await self._server.handle(request)
        return Answer(answer.status, answer.body)

    async def sleep(self, seconds: float) -> None:
        if asyncio.current_task() is not None:
            await self._clock.advance(seconds)


class OverHTTP:
    """A server at a URL."""

    lag = 0.1
    patience = 20  # the machine may be busy

    def __init__(self, session: Any, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._token = token

    async def call(self, method: str, target: str, headers: dict[str, str], body: bytes, *, anonymous: bool) -> Answer:
        from yarl import URL

        if not anonymous:
            headers = {**headers, "authorization": f"Bearer {self._token}"}
        response = await self._session.request(
            method, URL(self._url + target, encoded=True), headers=headers, data=body or None
        )
        if "watch=" not in target:
            return Answer(response.status, await response.read())
        return Answer(response.status, self._lines(response))

    @staticmethod
    async def _lines(response: Any) -> AsyncIterator[bytes]:
        try:
            while line := await response.content.readline():
                yield line
        finally:
            response.close()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Placeholders:
    """Replace what differs from run to run, the same value by the same placeholder."""

    def __init__(self, drop: set[str]) -> None:
        self._seen: dict[tuple[str, str], str] = {}
        self._drop = drop

    def name(self, kind: str, value: str) -> str:
        return self._seen.setdefault((kind, value), f"<{kind}-{sum(k == kind for k, _ in self._seen) + 1}>")

    def clean(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            prefix = value.get("generateName")
            out = {k: self.clean(v, k) for k, v in value.items() if k not in self._drop}
            if isinstance(prefix, str) and prefix and value["name"].startswith(prefix):
                out["name"] = prefix + self.name("generated", value["name"])
            return out
        if isinstance(value, list):
            return [self.clean(item, key) for item in value]
        if not isinstance(value, str):
            return value
        if key in ("uid", "previousUID") or UUID.fullmatch(value):
            return self.name("uid", value)
        if key == "resourceVersion":
            return "<rv>" if value not in ("", "0") else value
        if key == "continue":
            return "<continue>" if value else value
        if key in ("clusterIP", "clusterIPs", "ip") and value not in ("", "None"):
            return "<ip>"
        if TIME.search(value):
            return TIME.sub("<time>", value)
        return UUID.sub(lambda match: self.name("uid", match[0]), value)


def holds(raw: Any, path: str, value: Any) -> bool:
    """Whether that is at the path; None is also what an object lacks."""
    try:
        return bool(dig(raw, path) == value)
    except KeyError:
        return value is None
    except (IndexError, TypeError):
        return False


def dig(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def forget(value: Any, parts: list[str]) -> None:
    head, rest = parts[0], parts[1:]
    keys: Any = []
    if isinstance(value, list):
        keys = range(len(value)) if head == "*" else [int(head)] if head.isdigit() and int(head) < len(value) else []
    elif isinstance(value, dict):
        keys = list(value) if head == "*" else [head] if head in value else []
    for key in keys:
        if rest:
            forget(value[key], rest)
        else:
            value[key] = "<ignored>"


def differences(want: Any, got: Any, mode: str, path: str = "") -> list[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        out = []
        for key in want:
            if key not in got:
                out.append(f"{path}.{key}: missing, expected {json.dumps(want[key])[:120]}")
            else:
                out += differences(want[key], got[key], mode, f"{path}.{key}")
        if mode == "exact":
            out += [f"{path}.{key}: not expected: {json.dumps(got[key])[:120]}" for key in got if key not in want]
        return out
    if isinstance(want, list) and isinstance(got, list):
        out = [] if len(want) == len(got) else [f"{path}: {len(got)} items, expected {len(want)}"]
        for index, (a, b) in enumerate(zip(want, got, strict=False)):
            out += differences(a, b, mode, f"{path}[{index}]")
        return out
    if want == got and type(want) is type(got):
        return []
    return [f"{path}: {json.dumps(got)[:160]}, expected {json.dumps(want)[:160]}"]


def status_only(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        return {}
    causes = (body.get("details") or {}).get("causes") or []
    return {"reason": body.get("reason"), "fields": sorted({cause.get("field", "") for cause in causes})}


def compare(step: dict[str, Any], got: dict[str, Any]) -> list[str]:
    want, mode = step["response"], step.get("compare", "exact")
    if want["status"] != got["status"]:
        answer = json.dumps(got.get("body", got.get("text")))
        return [f"HTTP {got['status']}, expected {want['status']}: {answer[:300]}"]
    if mode == "status":
        return differences(status_only(want.get("body")), status_only(got.get("body")), "exact")
    keys = [key for key in ("body", "events", "text") if key in want]
    return [line for key in keys for line in differences(want[key], got.get(key), mode, key)]


class Player:
    """One scenario, played to a server."""

    def __init__(self, name: str, server: Server, run: str = "1a2b3c") -> None:
        scenario = json.loads((RECORDINGS / f"{name}.json").read_text())
        self.steps: list[dict[str, Any]] = scenario["steps"]
        self._server = server
        self._run = run
        self._variables = {"run": run}
        self._places = Placeholders({"managedFields", "description"} - set(scenario.get("keep", [])))
        self._background: dict[str, asyncio.Task[dict[str, Any]]] = {}

    @property
    def compared(self) -> int:
        return sum(step.get("compare") != "skip" and not step.get("background") for step in self.steps)

    async def play(self) -> dict[int, list[str]]:
        """The differences by step, of the steps that differ."""
        found = {}
        for number, step in enumerate(self.steps, 1):
            if differing := await self._step(step):
                found[number] = differing
        return found

    async def _step(self, step: dict[str, Any]) -> list[str]:
        if step.get("wait"):
            await self._server.sleep(step["wait"])
        if name := step.get("background"):
            self._background[name] = asyncio.create_task(self._call(step["request"], patient=True))
            await settle()
            await self._server.sleep(self._server.lag)
            return []
        raw = await self._join(step["join"]) if step.get("join") else await self._until(step)
        for variable, path in (step.get("save") or {}).items():
            try:
                self._variables[variable] = dig(raw, path)
            except (KeyError, IndexError, TypeError):
                self._variables[variable] = "<unsaved>"
        got = json.loads(json.dumps(self._places.clean(raw)).replace(self._run, "<run>"))
        for path in step.get("ignore", ()):
            forget(got, path.split("."))
        return [] if step.get("compare") == "skip" else compare(step, got)

    async def _join(self, name: str) -> dict[str, Any]:
        task = self._background[name]
        while not task.done():
            await self._server.sleep(self._server.lag)
        return task.result()

    async def _until(self, step: dict[str, Any]) -> dict[str, Any]:
        for _ in range(self._times(step.get("until_seconds", 0)) + 1):
            raw = await self._call(step["request"])
            if all(holds(raw, path, value) for path, value in step.get("until", {}).items()):
                break
            await self._server.sleep(self._server.lag)
        return raw

    def _times(self, seconds: float) -> int:
        """How often to look for what comes within so many seconds."""
        return int(seconds * self._server.patience / self._server.lag)

    async def _call(self, request: dict[str, Any], *, patient: bool = False) -> dict[str, Any]:
        headers = {"accept": request.get("accept", "application/json"), "user-agent": ""}
        body = b""
        if (given := request.get("body")) is not None:
            body = self._fill(given if isinstance(given, str) else json.dumps(given)).encode()
            headers["content-type"] = request.get("type", "application/json")
        answer = await self._server.call(
            request["method"], self._fill(request["path"]), headers, body, anonymous=bool(request.get("anonymous"))
        )
        if watch := request.get("watch"):
            return {"status": answer.status, "events": await self._events(answer.body, watch, patient=patient)}
        parts = [answer.body] if isinstance(answer.body, bytes) else [part async for part in answer.body]
        text = b"".join(parts).decode()
        try:
            return {"status": answer.status, "body": json.loads(text)}
        except ValueError:
            return {"status": answer.status, "text": text}

    async def _events(self, body: Any, watch: dict[str, Any], *, patient: bool) -> list[Any]:
        """As many events as are wanted, or those that came until nothing has come for a while."""
        if isinstance(body, bytes):
            return [json.loads(line) for line in body.splitlines()]
        lines: list[bytes] = []
        reader = asyncio.create_task(self._read(body, lines, watch.get("count", 10_000)))
        await settle()
        if not patient:
            for _ in range(self._times(watch.get("quiet", 2))):
                if reader.done():
                    break
                await self._server.sleep(self._server.lag)
            reader.cancel()
        await asyncio.wait([reader])
        await body.aclose()
        return [json.loads(line) for line in lines]

    @staticmethod
    async def _read(body: Any, lines: list[bytes], count: int) -> None:
        async for chunk in body:
            lines += chunk.splitlines()
            if len(lines) >= count:
                return

    def _fill(self, text: str) -> str:
        return re.sub(r"\$\{([\w-]+)\}", lambda match: str(self._variables[match[1]]), text)


def names() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


def describe(player: Player, number: int, lines: list[str]) -> str:
    request = player.steps[number - 1]["request"]
    return f"step {number} {request['method']} {request['path']}\n    " + "\n    ".join(lines[:8])


def trust(kubeconfig: Path) -> ssl.SSLContext:
    """TLS by the authority that a kubeconfig of ours names, if it names one."""
    cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
    return ssl.create_default_context(cadata=authority or None)


async def play_over_http() -> int:
    """Play all recordings, side by side, to a local cluster; returns how many steps differ that should not."""
    import aiohttp

    from kfcore_local.cluster import LocalCluster

    run = f"{time.time_ns() // 1_000_000:x}"
    async with (
        LocalCluster(without=("kubelet", "scheduler", "operator")) as cluster,
        aiohttp.ClientSession(
            skip_auto_headers=["User-Agent"], connector=aiohttp.TCPConnector(ssl=trust(cluster.kubeconfig), limit=0)
        ) as session,
    ):
        players = {
            name: Player(name, OverHTTP(session, cluster.url, cluster.token), f"{run}{index:x}")
            for index, name in enumerate(names())
        }
        found = await asyncio.gather(*(player.play() for player in players.values()))
    differing = 0
    unexpected = 0
    for (name, player), steps in zip(players.items(), found, strict=True):
        for number, lines in steps.items():
            differing += 1
            reason = EXCEPTIONS.get((name, number))
            unexpected += reason is None
            print(
                f"{name}: {describe(player, number, lines)}\n    "
                + (f"deliberately: {reason}" if reason else "DIFFERS")
            )
    total = sum(player.compared for player in players.values())
    print(f"{total - differing} of {total} steps agree")
    return unexpected


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(play_over_http()) else 0)

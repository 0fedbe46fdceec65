"""A headless Chromium that a test drives through its debugging port: open, look, press keys."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class NoAnswer(Exception):
    """The browser has none: a page that is on its way to another has nothing to look at."""


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0

    async def call(self, method: str, **params: Any) -> Any:
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": params})
        while True:
            answer = json.loads(await self._socket.receive_str(timeout=PATIENCE))
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise NoAnswer(f"{method}: {answer['error']}")
                return answer["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=expression))["result"].get("value")

    async def until(
        self, expression: str, seconds: float = PATIENCE, trying: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Wait until an expression is true in the page; `trying` is what a person would try every few seconds.

        A page that is still loading takes no key, or answers it with a question.
        """
        deadline = time.monotonic() + seconds
        for turn in itertools.count():
            with suppress(NoAnswer):
                if await self.value(f"Boolean({expression})"):
                    return
                if trying is not None and turn % 10 == 0:
                    await trying()
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.3)
        shown = await self.value("document.body.innerText.slice(0, 2000)")
        raise AssertionError(f"not within {seconds} s: {expression}; the page shows: {shown}")

    async def press(self, key: str, code: int, modifiers: int = 0) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
                text="\r" if key == "Enter" and kind == "keyDown" else "",
            )


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Page]:
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=1600,1000",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            tab = await _first_tab(session, port)
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(PATIENCE):
        while "\n" not in (text := await asyncio.to_thread(_read, file)):
            assert process.returncode is None, f"Chromium has ended with {process.returncode}"
            await asyncio.sleep(0.1)
    return int(text.splitlines()[0])


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def _first_tab(session: aiohttp.ClientSession, port: int) -> dict[str, Any]:
    """The browser listens before it has opened one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs: list[dict[str, Any]] = await answer.json()
            for tab in tabs:
                if tab["type"] == "page":
                    return tab
            await asyncio.sleep(0.1)

"""A WebSocket through the gateway: messages both ways, between the browser and the pod, until one of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse, web

    Side = web.WebSocketResponse | ClientWebSocketResponse


async def tunnel(
    session: ClientSession, request: web.Request, url: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer `request` with the conversation of `url`; `headers` are what the pod is to see."""
    from aiohttp import web

    offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    passed = {name: value for name, value in headers.items() if not name.lower().startswith("sec-websocket")}
    async with session.ws_connect(
        url, protocols=[part for part in offered if part], headers=passed, max_msg_size=0
    ) as upstream:
        chosen = [upstream.protocol] if upstream.protocol else []
        downstream = web.WebSocketResponse(protocols=chosen, max_msg_size=0, autoping=True)
        await downstream.prepare(request)
        copies = [
            asyncio.ensure_future(_copy(downstream, upstream)),
            asyncio.ensure_future(_copy(upstream, downstream)),
        ]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in copies:
                task.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
        return downstream


async def _copy(source: Side, sink: Side) -> None:
    from aiohttp import WSMsgType

    async for message in source:
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
    await sink.close(code=_close_code(source.close_code))


def _close_code(code: int | None) -> int:
    """1005, 1006 and the like stand for closes without a code, and may not be sent."""
    return code if code is not None and (1000 <= code <= 1003 or code >= 1007) and code != 1015 else 1000

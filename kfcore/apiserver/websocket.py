"""aiohttp's WebSocket as the `Socket` of a conversation: the handshake, messages of bytes, and the end of it."""

from __future__ import annotations

from aiohttp import WSCloseCode, WSMsgType, web

from kfcore.apiserver.request import GOODBYE_SECONDS, Upgrade

MESSAGE_LIMIT = 4 * 1024 * 1024


class _Socket:
    """Implements `kfcore.apiserver.request.Socket`."""

    def __init__(self, websocket: web.WebSocketResponse) -> None:
        self._websocket = websocket

    @property
    def protocol(self) -> str:
        return self._websocket.ws_protocol or ""

    async def receive(self) -> bytes | None:
        message = await self._websocket.receive()
        match message.type:
            case WSMsgType.BINARY:
                return bytes(message.data)
            case WSMsgType.TEXT:
                return str(message.data).encode()
        return None

    async def send(self, message: bytes) -> None:
        if self._websocket.closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._websocket.send_bytes(message)


async def converse(http: web.BaseRequest, upgrade: Upgrade) -> web.StreamResponse:
    """Hold the conversation of `upgrade` over the connection of `http`."""
    websocket = web.WebSocketResponse(
        protocols=upgrade.protocols, max_msg_size=MESSAGE_LIMIT, compress=False, timeout=GOODBYE_SECONDS
    )
    try:
        await websocket.prepare(http)
    except web.HTTPException as refusal:  # a handshake that is none
        return web.Response(status=refusal.status, text=refusal.text)
    try:
        await upgrade.converse(_Socket(websocket))
    except OSError:
        pass  # the client went away
    finally:
        await websocket.close(code=WSCloseCode.OK)
    return websocket

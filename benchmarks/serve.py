"""A process of its own that the runtime is measured against: `python -m benchmarks.serve KIND COUNT` prints its
address.

`cluster`: the API with COUNT pods, and the installed plugins' CRDs. `recording`: one small object for every get, and
for every watch an empty list and then COUNT changes, as fast as they are read.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from benchmarks.library import pod
from kfcore.api.codec import encode_json
from kfcore.api.crd import crd
from kfcore.apiserver.http import HttpServer
from kfcore.apiserver.server import ApiServer
from kfcore.plugins import load_plugins
from kfcore.testing import add_object

TOKEN = "benchmark"


async def cluster(count: int) -> None:
    api = ApiServer()
    for _, plugin in load_plugins().controllers:
        api.install_crd(crd(plugin.kind))
    for number in range(count):
        add_object(api, pod(number))
    server = HttpServer(api, token=TOKEN)
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()


async def recording(count: int) -> None:
    small = encode_json(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "resourceVersion": "1"}}
    )
    end = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
    bookmark = {"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Pod", "metadata": end}}
    lines = [encode_json({"type": "MODIFIED", "object": pod(number)}) + b"\n" for number in range(count)]

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            return web.Response(body=small, content_type="application/json")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(encode_json(bookmark) + b"\n")
        for start in range(0, count, 20):
            await response.write(b"".join(lines[start : start + 20]))
        await asyncio.Event().wait()
        return response

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"cluster": cluster, "recording": recording}[sys.argv[1]](int(sys.argv[2])))

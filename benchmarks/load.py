"""The client of the HTTP figures, a process of its own: `create` on standard input creates the pods over 16 connections
as fast as it is answered, `watch` reads them all from one watch; each ends with `done` on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp

CONNECTIONS = 16


async def main(url: str, token: str, count: int) -> None:
    pods = f"{url}/api/v1/namespaces/default/pods"
    container = {"name": "main", "image": "python:3.11", "command": ["python", "train.py"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"restartPolicy": "Never", "containers": [container]}}
    bodies = [json.dumps({**pod, "metadata": {"name": f"pod-{number}"}}).encode() for number in range(count)]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)

    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def create(mine: list[bytes]) -> None:
            for body in mine:
                async with session.post(pods, data=body) as answer:
                    await answer.read()
                    assert answer.status in (200, 201)  # KMock says 200

        async def watch() -> None:
            async with session.get(pods, params={"watch": "1"}) as answer:
                seen = 0
                async for chunk in answer.content.iter_any():
                    seen += chunk.count(b"\n")
                    if seen == count:
                        return

        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "create":
                await asyncio.gather(*(create(bodies[first::CONNECTIONS]) for first in range(CONNECTIONS)))
            else:
                await watch()
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

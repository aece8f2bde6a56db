"""The yardstick: the least a JSON router on `websockets`' asyncio server can do, without limits, sessions or a mailbox.

It speaks just enough of the protocol for the same load: hello, ping, peer message, acknowledgement, receipt.
"""

import asyncio
import json
import logging
import sys

from websockets.asyncio.server import ServerConnection, serve

devices: dict[str, ServerConnection] = {}
waiting: dict[str, str] = {}


async def handle(connection: ServerConnection) -> None:
    device = connection.request.headers["Device-Id"]
    devices[device] = connection
    async for text in connection:
        message = json.loads(text)
        kind = message["type"]
        if kind == "ping":
            await connection.send('{"type":"pong"}')
        elif kind == "hello":
            await connection.send(json.dumps({"type": "hello", "transport": "websocket", "session_id": device}))
        elif message.get("event") == "ack":
            sender = waiting.pop(message["id"])
            receipt = {"type": "peer", "status": "done", "id": message["id"], "delivered": [device]}
            await devices[sender].send(json.dumps(receipt))
        else:
            waiting[message["id"]] = device
            delivery = {"type": "peer", "from": device, "id": message["id"], "payload": message["payload"]}
            await devices[message["to"]].send(json.dumps(delivery))


async def main() -> None:
    logging.disable(logging.CRITICAL)
    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())

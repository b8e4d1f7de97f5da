# A WebSocket server and client in Python, with a proxy between them: `python3 websocket.py SERVER URL CA`.
import asyncio
import ssl
import sys

import websockets

server_address, url, ca = sys.argv[1:]


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    host, port = server_address.split(":")
    async with websockets.serve(echo, host, int(port), max_size=None):
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        async with websockets.connect(url, ssl=context, max_size=None) as client:
            for message in ("hello", b"\0\1\2", "x" * 1_000_000):
                await client.send(message)
                assert await client.recv() == message
            await client.ping()
    print("all is healthy")


asyncio.run(main())

# WebSockets whose proxy stops: `python3 going_away.py SERVER PROXY PID`.
#
# A server that sends large and small frames all the time, and clients that want whole messages until a Close frame with 1001 comes; then one
# that says nothing, one whose server ends it in the drain, and one that does not respond to the Close frame.
import asyncio
import os
import signal
import sys
import time

import websockets

server_address, proxy, pid = sys.argv[1], sys.argv[2], int(sys.argv[3])
sides = {}


async def serve(socket):
    kind = socket.request.path
    try:
        if kind == "/busy":
            for number in range(1_000_000):
                await socket.send("x" * (number * 7919 % 200_000))
        if kind == "/ends":
            await socket.recv()
            await socket.close(4000, "the server's own")
        await socket.wait_closed()
    except websockets.ConnectionClosed:
        pass
    sides[kind] = socket.close_code


async def client(kind):
    async with websockets.connect(f"ws://{proxy}{kind}", max_size=None, compression=None) as socket:
        try:
            async for message in socket:
                assert message == "x" * len(message)
        except websockets.ConnectionClosed as closed:
            assert kind == "/ends" and closed.rcvd.code == 4000, closed
        return socket.close_code


async def ends():
    async with websockets.connect(f"ws://{proxy}/ends") as socket:
        await asyncio.sleep(0.2)
        await socket.send("end it")
        await socket.wait_closed()
        return socket.close_code


# Reads without responding.
async def silent():
    reader, writer = await asyncio.open_connection(*proxy.split(":"))
    writer.write(b"GET /silent HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n")
    writer.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return await reader.read()


async def main():
    host, port = server_address.split(":")
    async with websockets.serve(serve, host, int(port), compression=None):
        clients = [asyncio.create_task(one) for one in (client("/busy"), client("/idle"), ends(), silent())]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        codes = await asyncio.gather(*clients)
        took = time.monotonic() - began
        assert codes == [1001, 1001, 4000, b"\x88\x02\x03\xe9"], codes
        # Not at once, but before the end of the drain.
        assert 3.5 < took < 6, took
        await asyncio.sleep(0.2)
        # The servers were told by the clients, but for the one whose client says nothing.
        assert sides == {"/busy": 1001, "/idle": 1001, "/ends": 4000, "/silent": 1006}, sides
    print("all went away")


asyncio.run(main())

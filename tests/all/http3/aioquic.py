"""Two requests by aioquic: a GET, and a POST whose body the proxy echoes."""

import asyncio
import json
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.streams = {}

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if not isinstance(found, (HeadersReceived, DataReceived)):
                continue
            head, body, ended = self.streams[found.stream_id]
            if isinstance(found, HeadersReceived):
                head.update(found.headers)
            else:
                body.extend(found.data)
            if found.stream_ended:
                ended.set_result(None)

    async def ask(self, method, path, body=b""):
        stream = self._quic.get_next_available_stream_id()
        head, received, ended = {}, bytearray(), asyncio.get_running_loop().create_future()
        self.streams[stream] = (head, received, ended)
        fields = [(b":method", method), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", path)]
        self.http.send_headers(stream, fields, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await asyncio.wait_for(ended, 20)
        return head[b":status"].decode(), bytes(received)


async def main(ip, port, ca):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test")
    configuration.load_verify_locations(ca)
    async with connect(ip, int(port), configuration=configuration, create_protocol=Client) as client:
        status, body = await client.ask(b"GET", b"/one")
        print(status, body.decode())
        status, body = await client.ask(b"POST", b"/echo", b"x" * 50_000)
        print(status, len(json.loads(body)["body"]))


asyncio.run(main(*sys.argv[1:]))

"""A WebSocket's extended CONNECT by aioquic, whose server says `welcome` and repeats what it gets."""

import asyncio
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
        self.events = asyncio.Queue()

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            self.events.put_nowait(found)

    async def next(self, kind):
        while True:
            found = await asyncio.wait_for(self.events.get(), 20)
            if isinstance(found, kind):
                return found


async def main(ip, port, ca):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test")
    configuration.load_verify_locations(ca)
    async with connect(ip, int(port), configuration=configuration, create_protocol=Client) as client:
        stream = client._quic.get_next_available_stream_id()
        names = [b":method", b":protocol", b":scheme", b":authority", b":path", b"sec-websocket-version"]
        values = [b"CONNECT", b"websocket", b"https", b"a.test", b"/chat", b"13"]
        client.http.send_headers(stream, list(zip(names, values)))
        client.transmit()
        head = dict((await client.next(HeadersReceived)).headers)
        said = (await client.next(DataReceived)).data
        client.http.send_data(stream, b"x" * 100_000, end_stream=True)
        client.transmit()
        repeated, ended = 0, False
        while not ended:
            found = await client.next(DataReceived)
            repeated, ended = repeated + len(found.data), found.stream_ended
        print(head[b":status"].decode(), head[b"sec-websocket-protocol"].decode(), said.decode(), repeated)


asyncio.run(main(*sys.argv[1:]))

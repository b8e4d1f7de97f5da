"""A client that offers early data, whatever its ticket allows, with a request in it."""

import asyncio
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import Epoch

FIELDS = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/one")]


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.head, self.body, self.ended = {}, bytearray(), asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.head.update(found.headers)
            elif isinstance(found, DataReceived):
                self.body.extend(found.data)
            if getattr(found, "stream_ended", False) and not self.ended.done():
                self.ended.set_result(None)

    def ask(self):
        self.http.send_headers(self._quic.get_next_available_stream_id(), FIELDS, end_stream=True)
        self.transmit()


async def main(ip, port, ca):
    tickets = []
    first = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test")
    first.load_verify_locations(ca)
    async with connect(ip, int(port), configuration=first, create_protocol=Client,
                       session_ticket_handler=tickets.append) as client:
        client.ask()
        await asyncio.wait_for(client.ended, 20)
        while not tickets:
            await asyncio.sleep(0.01)
    ticket = tickets[0]
    ticket.max_early_data_size = 0xFFFFFFFF
    again = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test", session_ticket=ticket)
    again.load_verify_locations(ca)
    async with connect(ip, int(port), configuration=again, create_protocol=Client, wait_connected=False) as client:
        client.ask()
        offered = client._quic._cryptos[Epoch.ZERO_RTT].send.is_valid()
        await asyncio.wait_for(client.ended, 20)
        tls = client._quic.tls
        print(f"offered {offered}, accepted {tls.early_data_accepted}, resumed {tls.session_resumed}, "
              f"{client.head[b':status'].decode()} {client.body.decode()}")


asyncio.run(main(*sys.argv[1:]))

"""Relays probes to a daemon and its replies back, for the lab `addresses`: late, or from another address or port.

    relay.py LISTEN UDP_PORT TCP_PORT TO DELAY_S [REPLY_ADDRESS REPLY_PORT]

What comes to LISTEN goes to the daemon's ports 8001 (UDP) and 8000 (TCP) at TO after DELAY_S. Replies to datagrams leave
from REPLY_ADDRESS and REPLY_PORT if they are given.
"""

import asyncio
import socket
import sys

# Bytes that may wait for this program: a second of packets, however long it is held up. What is lost here is no loss
# of a daemon's.
WAITING_MAX = 8 << 20
# Connections that may wait for it: seconds of them. A SYN without room is sent again after a second.
BACKLOG = 4096
# Of Linux (asm-generic/socket.h); Python does not name it.
SO_RCVBUFFORCE = 33


class Upstream(asyncio.DatagramProtocol):
    """The socket toward the daemon, for one client."""

    def __init__(self, replies, client):
        self.replies, self.client = replies, client

    def datagram_received(self, data, _):
        self.replies.sendto(data, self.client)


class Relay(asyncio.DatagramProtocol):
    def __init__(self, to, delay_s):
        self.to, self.delay_s = to, delay_s
        self.upstreams = {}
        self.replies = None

    def connection_made(self, transport):
        widen(transport)
        self.replies = self.replies or transport

    def datagram_received(self, data, client):
        asyncio.get_running_loop().create_task(self.forward(data, client))

    async def forward(self, data, client):
        await asyncio.sleep(self.delay_s)
        if client not in self.upstreams:
            # Kept at once: further datagrams of the client come while the socket is made.
            self.upstreams[client] = asyncio.ensure_future(self.connect(client))
        upstream = await self.upstreams[client]
        upstream.sendto(data)

    async def connect(self, client):
        made = lambda: Upstream(self.replies, client)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(made, remote_addr=(self.to, 8001))
        widen(transport)
        return transport


def widen(transport):
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WAITING_MAX)


async def pump(reader, writer, delay_s):
    """Passes a stream on. Each chunk is `delay_s` late, whatever follows it."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(delay_s, writer.write, data)
    loop.call_later(delay_s, writer.close)


async def main(listen, udp_port, tcp_port, to, delay_s, reply_address=None, reply_port=None):
    loop, delay_s = asyncio.get_running_loop(), float(delay_s)
    relay = Relay(to, delay_s)
    if reply_address:
        at = (reply_address, int(reply_port))
        relay.replies, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=at)
    await loop.create_datagram_endpoint(lambda: relay, local_addr=(listen, int(udp_port)))

    async def accept(reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection(to, 8000)
        await asyncio.gather(pump(reader, upstream_writer, delay_s), pump(upstream_reader, writer, 0))

    server = await asyncio.start_server(accept, listen, int(tcp_port), backlog=BACKLOG)
    print("relaying", file=sys.stderr, flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))

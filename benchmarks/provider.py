"""A fake provider that is fast enough not to limit a benchmark: asyncio, one fixed response, a latency.

Usage: `python -m benchmarks.provider PORT MS`. With `load` instead of the latency, it sends requests to the provider on
this port and prints the requests a second.
"""

import asyncio
import json
import sys
import time

SEND = b'{"Failed": 0, "Total": 1, "Submitted": 1, "Detail": [{"phone": "256772123456", "msg_id": %d}]}'
TOKEN = b'{"access_token": "opaque-token", "status_code": "201"}'


class Provider(asyncio.Protocol):
    latency = 0.0
    count = 0
    first = last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.answer(head.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        kind = Provider
        if path == b"/stats":
            stats = {"count": kind.count, "first": kind.first, "last": kind.last}
            kind.count, kind.first = 0, 0.0
            return self.write(json.dumps(stats).encode())
        if b"token" in path:
            return self.write(TOKEN)
        kind.count += 1
        kind.last = time.time()
        kind.first = kind.first or kind.last
        body = SEND % kind.count
        if not kind.latency:
            return self.write(body)
        asyncio.get_running_loop().call_later(kind.latency, self.write, body)
        return None

    def write(self, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )


async def main(port: int, milliseconds: float) -> None:
    Provider.latency = milliseconds / 1000
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


async def load(port: int, count: int = 20_000, connections: int = 64) -> float:
    request = b"POST /v3/api/send_sms/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count // connections):
            writer.write(request)
            await reader.readuntil(b"]}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    if sys.argv[2] == "load":
        sys.stdout.write(f"{asyncio.run(load(int(sys.argv[1]))):.0f}\n")
    else:
        asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))

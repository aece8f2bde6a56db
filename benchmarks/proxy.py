"""Bytes a second through the proxy of the faults beside those of a direct connection, interleaved, in one process.

``python benchmarks/proxy.py [megabytes]``. Sender, proxy and receiver share one loop and one core, so that what the
proxy costs shows; the ratio, round by round, is the figure to keep.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from harness.faults.proxy import TcpProxy
from harness.faults.shape import Shape

ROUNDS = 7
CHUNK = bytes(16 * 1024)  # one audio-heavy write; larger ones favour the direct connection, as the kernel does more


class Sink(asyncio.Protocol):
    def __init__(self) -> None:
        self.count = 0
        self.expected = 0
        self.done = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        if self.count >= self.expected:
            self.done.set()


class Source(asyncio.Protocol):
    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


async def rate(port: int, sinks: asyncio.Queue[Sink], total: int) -> float:
    """Send so many bytes to a port; bytes a second."""
    _, source = await asyncio.get_running_loop().create_connection(Source, "127.0.0.1", port)
    source.transport.write(b"x")
    sink = await sinks.get()
    sink.expected = total + 1
    began = time.perf_counter()
    for _ in range(total // len(CHUNK)):
        source.transport.write(CHUNK)
        await source.writable.wait()
    await sink.done.wait()
    seconds = time.perf_counter() - began
    source.transport.abort()
    return total / seconds


async def throughput(total: int = 128 << 20, rounds: int = ROUNDS, shape: Shape | None = None) -> tuple[float, float]:
    """Measure; the median of the rates through the proxy, and of their ratios to the direct ones."""
    sinks: asyncio.Queue[Sink] = asyncio.Queue()

    def accept() -> Sink:
        sink = Sink()
        sinks.put_nowait(sink)
        return sink

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = TcpProxy()
    await proxy.start()
    proxy.forward_to("127.0.0.1", port)
    if shape is not None:

        class Always:
            def apply_to(self, connection) -> None:
                connection.to_gateway.set_shape(shape)

        proxy.rules = Always()
    total -= total % len(CHUNK)
    through, ratios = [], []
    for _ in range(rounds):
        direct = await rate(port, sinks, total)
        through.append(await rate(proxy.port, sinks, total))
        ratios.append(through[-1] / direct)
    await proxy.aclose()
    server.close()
    return statistics.median(through), statistics.median(ratios)


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if sys.argv[1:] else 128
    for name, shape in (("plain", None), ("latency 1 ms", Shape(latency=0.001))):
        bytes_per_second, ratio = asyncio.run(throughput(megabytes << 20, shape=shape))
        print(f"{name}: {bytes_per_second / 1e6:.0f} MB/s through the proxy, {ratio:.2f} of a direct connection")

"""The load: devices that ping, or write to each other, as fast as they are answered; or that only stay connected.

A program of its own, so that its work is on another core than the server's. Prints one JSON line.
"""

import argparse
import asyncio
import json
import resource
import time

HANDSHAKE = (
    "GET /xiaozhi/v1/ HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
    "Device-Id: {device}\r\nClient-Id: bench\r\nProtocol-Version: 1\r\n\r\n"
)
HELLO = b'{"type":"hello","version":1,"transport":"websocket","features":{"peer_ack":true}}'
PING = b'{"type":"ping"}'


def frame(payload: bytes) -> bytes:
    """Mask with a key of zeros: legal, and the load costs less than what is measured."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


class Device(asyncio.Protocol):
    """One device; `talk` says what it does with what it gets."""

    def __init__(self, run: "Run", number: int) -> None:
        self.run, self.name = run, f"bench-{number}"
        self.peer = f"bench-{(number + 1) % run.count}"
        self.ready = asyncio.get_running_loop().create_future()
        self.rest = b""
        self.sent = 0
        self.asked = 0.0
        self.upgraded = False

    def connection_made(self, transport):
        self.transport = transport
        transport.write(HANDSHAKE.format(device=self.name).encode())

    def data_received(self, data):
        data = self.rest + data if self.rest else data
        if not self.upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self.rest = head
                return
            assert b" 101 " in head, head
            self.upgraded = True
            self.transport.write(frame(HELLO))
        position, size = 0, len(data)
        while size - position >= 2:
            length, body = data[position + 1], position + 2
            if length == 126:
                if size - position < 4:
                    break
                length, body = int.from_bytes(data[position + 2 : position + 4], "big"), position + 4
            if body + length > size:
                break
            self.received(data[body : body + length])
            position = body + length
        self.rest = data[position:]

    def received(self, text):
        if not self.ready.done():
            self.ready.set_result(None)
        elif text == b'{"type":"pong"}' or b'"done"' in text:
            self.answered()
        elif b'"payload"' in text:
            start = text.index(b'"id":') + 5
            start += text[start] == 32  # the router writes a space there
            end = text.index(b'"', start + 1) + 1
            self.transport.write(frame(b'{"type":"peer","event":"ack","id":' + text[start:end] + b"}"))
        elif b'"error"' in text:
            raise SystemExit(f"the server answered {text!r}")

    def answered(self):
        run = self.run
        run.answers += 1
        if run.answers % 16 == 0:
            run.latencies.append(time.perf_counter() - self.asked)
        self.talk()

    def talk(self):
        run = self.run
        if not run.running:
            return
        self.asked = time.perf_counter()
        if run.what == "ping":
            self.transport.write(run.ping)
        else:
            self.sent += 1
            message = (
                f'{{"type":"peer","to":"{self.peer}","id":"{self.name}/{self.sent}","payload":{{"text":"hello"}}}}'
            )
            self.transport.write(frame(message.encode()))

    def connection_lost(self, error):
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"{self.name} was not let in: {error}"))
        if self.run.running:
            raise SystemExit(f"{self.name} lost its connection: {error}")


class Run:
    """One measurement."""

    def __init__(self, what: str, count: int, outstanding: int) -> None:
        self.what, self.count, self.outstanding = what, count, outstanding
        self.answers = 0
        self.running = False
        self.latencies: list[float] = []
        self.ping = frame(PING)

    async def connect(self, port: int) -> list[Device]:
        loop = asyncio.get_running_loop()
        devices = []
        for first in range(0, self.count, 100):
            batch = [
                # one source address can have 28,000 connections to one port, so several are used from the start
                loop.create_connection(
                    lambda number=number: Device(self, number),
                    "127.0.0.1",
                    port,
                    local_addr=(f"127.0.0.{2 + number // 5000}", 0),
                )
                for number in range(first, min(first + 100, self.count))
            ]
            new = [device for _, device in await asyncio.gather(*batch)]
            await asyncio.gather(*(device.ready for device in new))
            devices += new
        return devices


def cpu_seconds(pid: int) -> float:
    """CPU time of the server process, user and system."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory_kib(pid: int) -> int:
    """Resident memory of the server process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["ping", "peer", "idle"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--outstanding", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    run = Run(arguments.what, arguments.devices, arguments.outstanding)
    before = memory_kib(arguments.pid)
    devices = await run.connect(arguments.port)
    if run.what == "idle":
        await asyncio.sleep(arguments.seconds)
        print(json.dumps({"kib_each": (memory_kib(arguments.pid) - before) / len(devices)}))
        return
    run.running = True
    for device in devices:
        for _ in range(run.outstanding):
            device.talk()
    await asyncio.sleep(0.5)  # caches and buffers fill
    answers, cpu, began = run.answers, cpu_seconds(arguments.pid), time.perf_counter()
    run.latencies.clear()
    await asyncio.sleep(arguments.seconds)
    elapsed = time.perf_counter() - began
    answers, cpu = run.answers - answers, cpu_seconds(arguments.pid) - cpu
    run.running = False
    latencies = sorted(run.latencies)
    print(
        json.dumps(
            {
                "per_second": answers / elapsed,
                "cpu_us": cpu / answers * 1e6,
                "p50_ms": latencies[len(latencies) // 2] * 1e3,
                "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
            }
        )
    )


async def within(seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await main()


asyncio.run(within(120))

"""A scenario in which everything goes wrong at once; as a program, it prints the hash of its trace, or the trace.

``python -m tests.harness.simulation.storm SEED [trace]``
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import uuid

from harness.errors import HarnessError
from harness.simulation.loop import SimulatedLoop, run
from harness.simulation.profiles import ESP32
from harness.simulation.trace import Trace
from tests.harness.simulation.houses import House, device_on
from tests.harness.simulation.stage import host

DEVICES = 12


async def storm(loop: SimulatedLoop) -> None:
    """Devices write to each other over bad links, while gateways die; then tasks end in the order of a set."""
    network, chance = loop.network, loop.stream("scenario")
    house = House()
    names = [f"02:00:00:00:00:{number:02x}" for number in range(DEVICES)]
    for number in range(DEVICES):
        network.link(
            host(f"d{number}", ESP32),
            "gw",
            latency=0.01,
            jitter=0.02,
            loss=0.05,
            fragment=("joined", "random")[number % 2],
        )
    await house.boot()
    lives = [host(f"d{number}", ESP32).spawn(live(loop, f"d{number}", names, number)) for number in range(DEVICES)]
    for _ in range(3):
        await asyncio.sleep(chance.uniform(1, 4))
        house.host.kill()
        await asyncio.sleep(chance.uniform(0.1, 1))
        await house.boot()
        unlucky = f"d{chance.randrange(DEVICES)}"
        network.partition(unlucky, "gw", both=chance.random() < 0.5)
        await asyncio.sleep(chance.uniform(0.5, 3))
        network.heal(unlucky, "gw")
    house.host.power_off()
    await asyncio.sleep(3)
    await house.boot()
    await asyncio.sleep(10)
    for each in {*lives}:  # a set: its order must not follow addresses
        each.cancel()
    done, _ = await asyncio.wait(lives)
    note = " ".join([*(task.get_name() for task in done), secrets.token_hex(4), str(uuid.uuid4()), str(uuid.uuid1())])
    loop.trace.note(loop.time(), "end", note)


async def live(loop: SimulatedLoop, home: str, names: list[str], number: int) -> None:
    """Connect, write to the others, and again."""
    chance = loop.stream(home)
    try:
        while True:
            try:
                async with asyncio.timeout(20):
                    device = await device_on(home, names[number])
                    while True:
                        await device.send({"type": "peer", "to": chance.choice(names), "payload": {"n": 1}})
                        await device.expect("peer", chance.uniform(0.5, 2))
            except (HarnessError, TimeoutError):
                await asyncio.sleep(chance.uniform(0.1, 0.5))
    finally:
        loop.trace.note(loop.time(), "ended", home)


def trace_of(seed: int) -> Trace:
    """Run it once."""

    async def main(loop: SimulatedLoop) -> Trace:
        await storm(loop)
        return loop.trace

    logging.disable(logging.CRITICAL)  # it has much to say
    try:
        return run(main, seed, keep_trace=True)
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    found = trace_of(int(sys.argv[1]))
    sys.stdout.write("\n".join(found.lines) if sys.argv[2:] else found.digest())

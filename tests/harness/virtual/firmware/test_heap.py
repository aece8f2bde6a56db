"""Free memory that is made up."""

from __future__ import annotations

from harness.virtual.firmware.heap import Heap
from tests.harness.virtual.firmware.stage import Uart


def test_leak():
    """It loses what it is told to, second by second, down to nothing."""
    now = [0.0]
    heap = Heap(10_000, clock=lambda: now[0])
    now[0] = 5.0
    before = heap.free
    heap.leak(1_000)
    now[0] = 8.0

    assert before == 10_000
    assert (heap.free, heap.minimum) == (7_000, 7_000)
    heap.leak(0)
    now[0] = 100.0
    assert heap.free == 7_000
    heap.leak(1_000_000)
    now[0] = 101.0
    assert (heap.free, heap.minimum) == (0, 0)


async def test_report(uart: Uart):
    """The line that the firmware prints every ten seconds."""
    Heap(123_456).report(uart.log)

    assert uart.lines == ["SystemInfo: free sram: 123456 minimal sram: 123456"]

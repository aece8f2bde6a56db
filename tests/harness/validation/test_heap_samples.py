"""Free heap over time."""

from harness.board.console_lines import Line
from harness.validation.heap_samples import HeapSamples


def said(at, text):
    """A line of the board."""
    return Line(0, at, "said", text)


def test_asked_for():
    """The slope of the samples, and the least that was ever free."""
    samples = HeapSamples()
    for second in range(5):
        samples.add(second, 100_000 - 4096 * second, 90_000)

    assert samples.slopes() == [-4096]
    assert samples.minimum() == [90_000]


def test_printed():
    """Where nothing was asked for, the lines of the firmware do."""
    samples = HeapSamples()
    samples.hear([said(10.0 * n, f"I (1) SystemInfo: free sram: {50_000 - n} minimal sram: 4{n}000") for n in range(4)])

    assert samples.slopes() == [-0.1]
    assert samples.minimum() == [40_000]


def test_too_few():
    """Two samples always lie on a line, and none on none."""
    samples = HeapSamples()
    assert (samples.slopes(), samples.minimum()) == ([], [])
    samples.add(0, 5, 5)
    samples.add(1, 4, 4)
    assert samples.slopes() == []

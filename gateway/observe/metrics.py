"""Counts what happens and shows it in the Prometheus text format, version 0.0.4.

What there is to show stands in `gateway.observe.counted`. ``python -m gateway.observe.metrics`` prints the reference
page, ``docs/metrics.md``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from gateway.errors import Misuse
from gateway.observe.counted import COUNTERS, GAUGES, OTHER, Counted
from gateway.observe.events import Event

_log = logging.getLogger(__name__)


class Counter:
    """A number that only grows, one for each combination of label values.

    A value that a label does not list is counted as ``other``. With one label, or none, every listed value is shown
    from the beginning, so that its first increase is seen as one; all else is shown once it has occurred.
    """

    __slots__ = ("_counts", "_labels", "help", "name")

    def __init__(self, name: str, help: str, labels: Mapping[str, Sequence[str]] | None = None) -> None:  # noqa: A002 - Prometheus' word
        self.name = name
        self.help = help
        self._labels = {label: tuple(values) for label, values in (labels or {}).items()}
        self._counts: dict[tuple[str, ...], float] = {}
        if not self._labels:
            self._counts[()] = 0
        elif len(self._labels) == 1:
            (listed,) = self._labels.values()
            self._counts.update(((value,), 0) for value in listed)

    def add(self, amount: float = 1, values: tuple[str, ...] = ()) -> None:
        """Add to the count of a combination of label values, given in the order of the labels."""
        try:
            self._counts[values] += amount
        except KeyError:
            self._add_new(amount, values)

    def foresees(self, values: tuple[str, ...]) -> bool:
        """Whether each value is one its label was listed with; what is not is counted as `OTHER`."""
        return all(value in listed for value, listed in zip(values, self._labels.values(), strict=True))

    def _add_new(self, amount: float, values: tuple[str, ...]) -> None:
        known = zip(values, self._labels.values(), strict=True)
        values = tuple(value if value in listed else OTHER for value, listed in known)
        self._counts[values] = self._counts.get(values, 0) + amount

    def lines(self) -> list[str]:
        """Show the counter in the text format."""
        return [*_head(self.name, "counter", self.help), *map(self._line, self._counts.items())]

    def _line(self, item: tuple[tuple[str, ...], float]) -> str:
        values, count = item
        pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(self._labels, values, strict=True))
        return f"{self.name}{{{pairs}}} {_number(count)}" if pairs else f"{self.name} {_number(count)}"


def _head(name: str, kind: str, help: str) -> list[str]:  # noqa: A002 - Prometheus' word
    text = help.replace("\\", r"\\").replace("\n", r"\n")
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))  # True is 1
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(value)) or repr(value)


# --- the registry ---------------------------------------------------------------------------------------------


class Metrics:
    """All metrics of one gateway: an observer of records, and a page of text.

    Register it with `Observers.add`. To be used in the loop's thread only.
    """

    def __init__(self) -> None:
        self._counters: list[Counter] = []
        self._gauges: dict[str, Callable[[], float]] = {}
        self._counting: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}
        for counted in COUNTERS:
            counter = Counter(counted.name, counted.help, {label.name: label.values for label in counted.labels})
            self._counters.append(counter)
            others = self._counting.get(counted.event, ())
            self._counting[counted.event] = (*others, _counting(counted, counter))

    def __call__(self, event: Event) -> None:
        """Count a record; one that nothing counts is passed over."""
        for count in self._counting.get(type(event), ()):
            count(event)

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Show what ``read`` returns at each scrape as the gauge ``name``, replacing what was shown before.

        ``read`` is called in the loop and must not block. One that raises is reported once, and left out from then on.

        Raises:
            Misuse: the name is not one of `GAUGES`, where it would have its description.
        """
        if name not in GAUGES:
            raise Misuse(f"expected a gauge listed in gateway.observe.counted.GAUGES, got {name!r}")
        self._gauges[name] = read

    def render(self) -> str:
        """Return all metrics in the text format, counters first, in the order of the tables."""
        lines = [line for counter in self._counters for line in counter.lines()]
        for name, help_text in GAUGES.items():
            value = self._read(name)
            if value is not None:
                lines += [*_head(name, "gauge", help_text), f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"

    def _read(self, name: str) -> float | None:
        read = self._gauges.get(name)
        if read is None:
            return None
        try:
            return read()
        except Exception:  # noqa: BLE001 - foreign code, and one broken gauge must not hide all the others
            _log.exception("the gauge %s failed and is left out from now on", name)
            del self._gauges[name]
            return None


def _counting(counted: Counted, counter: Counter) -> Callable[[Any], None]:
    """Make the function that counts one record."""
    amount = attrgetter(counted.amount) if counted.amount else None
    reads = tuple(label.read or attrgetter(label.name) for label in counted.labels)
    if not reads:
        return lambda event: counter.add(1 if amount is None else amount(event))
    known: dict[tuple[object, ...], tuple[str, ...]] = {}  # facts of a record -> label values, which are few

    def count(event: Any) -> None:
        facts = tuple([read(event) for read in reads])  # a list, not a generator: this is called per message
        values = known.get(facts)
        if values is None:
            values = tuple(map(_label_text, facts))
            if counter.foresees(values):
                known[facts] = values
        counter.add(1 if amount is None else amount(event), values)

    return count


def _label_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class LoopLag:
    """Measures how late the event loop runs its timers: the time for which something held it.

    Run it with an owner: ``tasks.spawn(lag.run(), "loop lag")``. What is shorter than ``interval`` seconds may pass
    between two samples unseen.
    """

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._worst = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self._worst = max(self._worst, loop.time() - due)

    def take(self) -> float:
        """Return the worst lateness in seconds since the last call, and begin anew."""
        worst, self._worst = self._worst, 0.0
        return worst


# --- the reference page ---------------------------------------------------------------------------------------

_PAGE = """\
# Metrics

<!-- Made by `python -m gateway.observe.metrics`; change `gateway/observe/counted.py` instead. -->

`GET /metrics` on the HTTP port answers in the Prometheus text format, version 0.0.4.
No label has an id in it.
Every label has the values listed here, and `other` for all that were not foreseen.

## Counters

They begin at 0 with the process and only grow.
One with several labels shows a combination once it has occurred.

| Name | Counts | Labels |
|---|---|---|
"""
_GAUGES_HEAD = """
## Gauges

They show how things stand at the moment of the scrape.

| Name | Shows |
|---|---|
"""


def reference() -> str:
    """Return the reference page as Markdown."""
    rows = [f"| `{counted.name}` | {counted.help} | {_labels_in_words(counted)} |\n" for counted in COUNTERS]
    gauges = [f"| `{name}` | {help_text} |\n" for name, help_text in GAUGES.items()]
    return _PAGE + "".join(rows) + _GAUGES_HEAD + "".join(gauges)


def _labels_in_words(counted: Counted) -> str:
    return "; ".join(f"`{label.name}`: {', '.join(label.values)}" for label in counted.labels)


if __name__ == "__main__":
    sys.stdout.write(reference())

"""What is measured of a build: the table that measuring, judging, limits and the documentation share. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from harness.errors import Misuse
from harness.report.record import Limit, Verdict


class Metric(msgspec.Struct, frozen=True):
    """One thing that is measured.

    Attributes:
        name: identifier; those that are measured for each partition end in its label: ``image_bytes.ota_0``.
        title: for people.
        unit: see `harness.report.record.Measurement`.
        how: what exactly, in words.
        better: which way is better.
        blames: whose fault a bad value is.
        limit: if none is declared elsewhere.
        tolerance: share of the baseline by which it may be worse without being called so.
        resolution: the same, in its unit: what its clock, its polls and its wire leave open.
        compared: with a baseline; else only its limit counts.
        of_partition: there is one for each partition.
    """

    name: str
    title: str
    unit: str
    how: str
    better: Literal["lower", "higher"] = "lower"
    blames: Verdict = "firmware"
    limit: Limit = Limit()
    tolerance: float = 0.1
    resolution: float = 0.0
    compared: bool = True
    of_partition: bool = False


METRICS: tuple[Metric, ...] = (
    Metric(
        "image_bytes",
        "image size",
        "bytes",
        "Bytes of each part of the build that has a partition; of an image, up to its end.",
        tolerance=0.05,
        of_partition=True,
    ),
    Metric(
        "free_bytes",
        "free space",
        "bytes",
        "What is left of its partition.",
        better="higher",
        limit=Limit(at_least=0),
        compared=False,  # it says the same as the size, the other way round
        of_partition=True,
    ),
    Metric(
        "flash_seconds",
        "flash time",
        "s",
        "From the first to the last of writing what differs; none where nothing did.",
        blames="rig",
        limit=Limit(at_most=600),
        compared=False,  # it depends on what was there before
    ),
    Metric(
        "boot_to_ip",
        "boot to IP address",
        "s",
        "From the ROM's first line after a reset to the line that tells the address.",
        limit=Limit(at_most=30),
        resolution=0.25,
    ),
    Metric(
        "ip_to_gateway",
        "IP address to gateway",
        "s",
        "From there until the gateway's answer to its hello has passed.",
        limit=Limit(at_most=15),
        resolution=0.25,
    ),
    Metric(
        "hello_to_answer",
        "hello to first answer",
        "ms",
        "From its hello to the first answer, both as they pass the front.",
        blames="gateway",
        limit=Limit(at_most=2000),
        tolerance=0.5,
        resolution=25,
    ),
    Metric(
        "reconnect_gateway",
        "reconnect after gateway restart",
        "s",
        "From the moment in which the gateway listens again to its answer to a hello.",
        limit=Limit(at_most=40),
        tolerance=0.5,  # firmware waits by chance, or all devices would come at once
        resolution=0.5,
    ),
    Metric(
        "reconnect_wifi",
        "reconnect after Wi-Fi loss",
        "s",
        "From the moment in which the access point is there again, after a second without it.",
        limit=Limit(at_most=60),
        tolerance=0.5,
        resolution=1.0,
    ),
    Metric(
        "reconnect_power",
        "reconnect after power cut",
        "s",
        "From the moment in which it has power again.",
        limit=Limit(at_most=45),
        resolution=0.5,
    ),
    Metric(
        "round_trip_p50",
        "round trip, median",
        "ms",
        "From a WebSocket ping of the gateway to its pong, as they pass the front: half of them take at most this.",
        limit=Limit(at_most=500),
        tolerance=0.5,
        resolution=10,
    ),
    Metric(
        "round_trip_p99",
        "round trip, 99th percentile",
        "ms",
        "Likewise, 99 of 100.",
        limit=Limit(at_most=2000),
        tolerance=1.0,
        resolution=50,
    ),
    Metric(
        "acknowledged",
        "messages acknowledged",
        "%",
        "Of three messages of another device, how many it acknowledges within a second.",
        better="higher",
        limit=Limit(at_least=100),
    ),
    Metric(
        "audio_lost",
        "audio frames lost",
        "frames",
        "Of those it is told to send, one each 60 ms: how many do not pass.",
        limit=Limit(at_most=0),
    ),
    Metric(
        "audio_late",
        "audio frames late",
        "%",
        "How many pass more than one frame later than the quickest of them.",
        limit=Limit(at_most=20),
        resolution=10,
    ),
    Metric(
        "idle_messages",
        "messages while idle",
        "per s",
        "Messages it sends in each second in which nobody wants anything of it.",
        limit=Limit(at_most=2),
        resolution=1,
    ),
    Metric(
        "minimum_free_heap",
        "least free heap",
        "bytes",
        "The fewest bytes that were ever free, as it tells itself.",
        better="higher",
        limit=Limit(at_least=16384),
        resolution=2048,
    ),
    Metric(
        "heap_slope",
        "heap slope",
        "bytes/s",
        "What its free heap gains in a second (a leak is below 0), by the median of all pairs of samples.",
        better="higher",
        limit=Limit(at_least=-256),
        resolution=128,
    ),
    Metric(
        "unasked_resets",
        "resets nobody asked for",
        "",
        "Starts of the chip while it was measured, less those that were asked for; their causes are named.",
        limit=Limit(at_most=0),
    ),
    Metric(
        "lost_connections",
        "connections lost while idle",
        "",
        "Ends of its connection that nothing was done for.",
        limit=Limit(at_most=0),
    ),
)
"""In the order of a board's life."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def metric_named(name: str) -> Metric:
    """Return the metric of a measurement, by its name; that of a partition has the partition in name and title.

    Raises:
        Misuse: there is none; those there are.
    """
    family, dot, label = name.partition(".")
    metric = _BY_NAME.get(family)
    if metric is None or metric.of_partition != bool(dot and label):
        raise Misuse(f"expected a measurement ({', '.join(names())}), got {name!r}")
    if not metric.of_partition:
        return metric
    return msgspec.structs.replace(metric, name=name, title=f"{metric.title} of {label}")


def place(name: str) -> tuple[int, str]:
    """Return where a measurement stands among others: in the order of the table, partitions by their labels."""
    family, _, label = name.partition(".")
    known = list(_BY_NAME)
    return (known.index(family) if family in _BY_NAME else len(known), label)


def names() -> Iterator[str]:
    """Name all measurements, for people."""
    return (f"{metric.name}.PARTITION" if metric.of_partition else metric.name for metric in METRICS)


def metric_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Make the rows of the table in the documentation: name, unit, default limit, whose fault, what exactly."""
    for metric, name in zip(METRICS, names(), strict=True):
        yield f"`{name}`", metric.unit or "count", limit_in_words(metric.limit), metric.blames, metric.how


def limit_in_words(limit: Limit) -> str:
    """Say what a limit is: ``at most 30``."""
    parts = [
        f"{word} {number:,.15g}".replace(",", " ")
        for word, number in (("at least", limit.at_least), ("at most", limit.at_most))
        if number is not None
    ]
    return " and ".join(parts) or "none"

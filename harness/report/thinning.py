"""Leaves out entries of a timeline that is too big for a page, the least telling first, and counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harness.report.lanes import Lane, Mark

TIMELINE_MARKS = 3000
"""Of one timeline in a page: a browser draws that within a frame, and they are some 400 KB."""
PAGE_MARKS = 30_000
"""Of all timelines of a page: some 4 MB, which a phone opens."""
NEAR_SECONDS = 5.0
"""Before and after a failure nothing is left out while there is room: twice what most scenarios wait for."""
_PRIORITIES = 5


def thin(lanes: Sequence[Lane], limit: int, failed_at: float | None = None) -> tuple[tuple[Lane, ...], int]:
    """Return the lanes with at most so many marks, and how many were left out; bars stay.

    What is near the failure goes in first, with faults and errors; then warnings, events of the gateway and of links;
    then messages, console lines and, last, audio. The first sort that does not fit whole is sampled evenly.
    """
    room = limit
    kept: set[tuple[int, int]] = set()
    for places in _by_priority(lanes, failed_at):
        taken = places if len(places) <= room else [places[i * len(places) // room] for i in range(room)]
        kept.update(taken)
        room -= len(taken)
    total = sum(len(lane.marks) for lane in lanes)
    return tuple(_only(lane, number, kept) for number, lane in enumerate(lanes)), total - len(kept)


def shares(sizes: Sequence[int], most: int = PAGE_MARKS, each: int = TIMELINE_MARKS) -> list[int]:
    """Return how many marks each timeline of a page gets; what small ones leave over goes to the others.

    Whoever comes first is served first as long as each that follows can have a tenth of ``each``.
    """
    floor = each // 10
    left, given = most, []
    for number, size in enumerate(sizes):
        reserved = sum(min(later, floor) for later in sizes[number + 1 :])
        given.append(max(0, min(size, each, max(left - reserved, min(left, floor)))))
        left -= given[-1]
    return given


def _by_priority(lanes: Sequence[Lane], failed_at: float | None) -> list[list[tuple[int, int]]]:
    places: list[list[tuple[int, int]]] = [[] for _ in range(_PRIORITIES)]
    for number, lane in enumerate(lanes):
        for index, mark in enumerate(lane.marks):
            near = failed_at is not None and abs(mark.at - failed_at) <= NEAR_SECONDS
            places[0 if near else _priority(lane, mark)].append((number, index))
    return places


def _priority(lane: Lane, mark: Mark) -> int:
    if mark.tone in {"fault", "error", "lost"}:
        return 0
    if mark.tone == "warning" or lane.kind in {"gateway", "network", "power", "test"}:
        return 1
    if lane.kind == "frames":
        return 4 if mark.text.startswith("binary") else 2
    return 3


def _only(lane: Lane, number: int, kept: set[tuple[int, int]]) -> Lane:
    return msgspec.structs.replace(lane, marks=tuple(_kept(lane.marks, number, kept)))


def _kept(marks: Sequence[Mark], number: int, kept: set[tuple[int, int]]) -> Iterator[Mark]:
    return (mark for index, mark in enumerate(marks) if (number, index) in kept)

"""The timelines of a page as data for its script: lanes with their marks, thinned, in the fewest letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from harness.report.lanes import lanes
from harness.report.markup import Markup
from harness.report.record import Scenario
from harness.report.thinning import shares, thin


class Timelines:
    """Collects the timelines of a page; those that matter most come first, and get their room first.

    Args:
        scenarios: all of the page, the most telling first.
    """

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        sorted_out = [lanes(scenario.timeline) for scenario in scenarios]
        room = shares([sum(len(lane.marks) for lane in found) for found in sorted_out])
        self._names: dict[str, int] = {}
        self._drawn: list[dict[str, Any]] = []
        for scenario, found, most in zip(scenarios, sorted_out, room, strict=True):
            kept, left_out = thin(found, most, scenario.failed_at)
            self._drawn.append(
                {
                    "title": scenario.doc or scenario.name,
                    "failed": scenario.failed_at,
                    "leftOut": left_out,
                    "dropped": scenario.dropped,
                    "lanes": [
                        {
                            "kind": lane.kind,
                            "title": lane.title,
                            "marks": [
                                [round(mark.at, 4), mark.tone, self._name(mark.who), mark.text] for mark in lane.marks
                            ],
                            "bars": [[bar.kind, bar.began, bar.ended, bar.text] for bar in lane.bars],
                        }
                        for lane in kept
                    ],
                }
            )

    def script(self) -> Markup:
        """Return them as an element that holds data: nothing in it can end the element, nor is it run."""
        data = msgspec.json.encode({"names": list(self._names), "timelines": self._drawn}).decode()
        for character in "<>&\u2028\u2029":
            data = data.replace(character, f"\\u{ord(character):04x}")
        return Markup(f'<script type="application/json" id="timelines">{data}</script>')

    def _name(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

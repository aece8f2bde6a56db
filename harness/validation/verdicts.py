"""Which evidence gives which verdict, and which evidence comes first. Pure.

What explains the most comes first: a board that lost its port fails every scenario after it, and none of them says
anything about the firmware. A crash is the exception: the firmware said it itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from harness.report.record import Verdict

EvidenceKind: TypeAlias = Literal[
    "refused",
    "crashed",
    "brown_out",
    "rig_failed",
    "not_up",
    "wifi_lost",
    "scenario_without_board",
    "scenario",
    "suite_failed",
    "over_limit",
    "worse",
]


class Rule(NamedTuple):
    """What a kind of evidence says.

    Attributes:
        verdict: whose fault it is; None: the evidence says it itself.
        means: in words.
    """

    verdict: Verdict | None
    means: str


RULES: dict[EvidenceKind, Rule] = {
    "refused": Rule("firmware", "the build is none, is damaged, is for another chip, or does not fit"),
    "crashed": Rule("firmware", "the firmware crashed, and said so: panic, abort, watchdog"),
    "brown_out": Rule("rig", "the chip was reset by its brown-out detector: its supply is too weak"),
    "rig_failed": Rule(
        "rig", "a port vanished, power would not cut, another board answered, esptool failed, no board could be had"
    ),
    "not_up": Rule(None, "it could not be brought online; its console tells whose fault that is"),
    "wifi_lost": Rule("network", "it lost its Wi-Fi, or did not find it, when nobody took it away"),
    "scenario_without_board": Rule("gateway", "a scenario fails on the board, and with a fake device in its place"),
    "scenario": Rule("firmware", "a scenario fails on the board, and passes with a fake device in its place"),
    "suite_failed": Rule("rig", "the scenarios could not be run to their end"),
    "over_limit": Rule(None, "a measurement is past its limit; the table of measurements says whose fault that is"),
    "worse": Rule(None, "a measurement is worse than its baseline by more than the noise of both; likewise"),
}
"""In the order in which they decide."""
TRIED_AGAIN: frozenset[Verdict] = frozenset({"rig", "network"})
"""Verdicts that say nothing about the build: it is tried again, on another board where there is one."""


class Evidence(msgspec.Struct, frozen=True):
    """One thing that speaks against somebody.

    Attributes:
        kind: what it is.
        why: one line.
        source: name of the scenario or measurement; empty: neither.
        verdict: whose fault it is, where the kind does not say.
    """

    kind: EvidenceKind
    why: str
    source: str = ""
    verdict: Verdict | None = None

    @property
    def blames(self) -> Verdict:
        """Whose fault it is."""
        return RULES[self.kind].verdict or self.verdict or "firmware"


class Decision(NamedTuple):
    """The verdict, why in one line, and the name of what decided it."""

    verdict: Verdict
    why: str
    decided_by: str = ""


def decide(evidence: Iterable[Evidence], good: str = "nothing speaks against it") -> Decision:
    """Return the verdict of all evidence together: that of the kind that comes first, and of it the first one.

    Args:
        evidence: in the order in which it was found.
        good: why it is good where there is none.
    """
    order = list(RULES)
    found = sorted(evidence, key=lambda one: order.index(one.kind))  # sorted keeps the order of equals
    if not found:
        return Decision("pass", good)
    first = found[0]
    others = len(found) - 1
    more = f" (and {others} more finding{'s' if others > 1 else ''})" if others else ""
    return Decision(first.blames, first.why.partition("\n")[0] + more, first.source)


def rule_rows() -> Iterator[tuple[str, str]]:
    """Make the rows of the table in the documentation: what was found, and the verdict, in their order."""
    for rule in RULES.values():
        yield rule.means, rule.verdict or "as told"

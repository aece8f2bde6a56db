"""Which evidence decides."""

import itertools

import pytest

from harness.validation.verdicts import RULES, TRIED_AGAIN, Evidence, decide, rule_rows


def test_nothing_speaks_against_it():
    """It is good, and says what that rests on."""
    assert decide([], "3 scenarios passed") == ("pass", "3 scenarios passed", "")


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(RULES, 2)))
def test_precedence(first, second):
    """The kind that stands first in the table decides, whatever was found first."""
    evidence = [Evidence(second, "later", "b", "gateway"), Evidence(first, "sooner", "a", "network")]

    decision = decide(evidence)

    assert decision.decided_by == "a"
    assert decision.verdict == (RULES[first].verdict or "network")
    assert decision.why == "sooner (and 1 more finding)"


def test_first_of_a_kind():
    """Of several of one kind the one that was found first decides; of several lines the first is shown."""
    evidence = [
        Evidence("scenario", "one\nmore", "a"),
        Evidence("scenario", "two", "b"),
        Evidence("scenario", "3", "c"),
    ]

    assert decide(evidence) == ("firmware", "one (and 2 more findings)", "a")


def test_rig_before_what_follows_from_it():
    """A board that lost its port fails its scenarios, which say nothing then."""
    assert decide([Evidence("scenario", "no pong"), Evidence("rig_failed", "cable")]).verdict == "rig"


def test_crash_before_rig():
    """What the firmware has said itself is not the rig's."""
    assert decide([Evidence("rig_failed", "cable"), Evidence("crashed", "abort()")]).verdict == "firmware"


def test_what_is_tried_again():
    """Only what says nothing about the build."""
    assert {"rig", "network"} == TRIED_AGAIN


def test_rows():
    """Every kind has a row."""
    assert len(list(rule_rows())) == len(RULES)

"""Many seeds in other processes."""

from __future__ import annotations

import pickle

import pytest

from harness.exploration import hunting
from harness.exploration.hunting import BATCH, KEPT, Hunt, Run, Tally, _batches, _run_some
from harness.exploration.replay import Replay


def test_batches():
    """All seeds of all scenarios, in turns; without a number of them there is no end."""
    some = list(_batches(["a", "b"], 3, BATCH + 1))
    assert some == [
        ("a", range(3, 3 + BATCH)),
        ("b", range(3, 3 + BATCH)),
        ("a", range(3 + BATCH, 4 + BATCH)),
        ("b", range(3 + BATCH, 4 + BATCH)),
    ]
    endless = _batches(["a"], 0, None)
    assert [next(endless)[1].start for _ in range(3)] == [0, BATCH, 2 * BATCH]


def test_tally():
    """What is worth a look: the first few failures of each kind."""
    tally = Tally()
    good = Run("a", 1, None, "", 0.5, 60.0)
    bad = [Run("a", seed, 3, "wrong", 0.5, 60.0) for seed in range(KEPT + 1)]

    assert not tally.add(good)
    assert [tally.add(run) for run in bad] == [*[True] * KEPT, False]
    assert tally.add(Run("a", 9, 4, "wrong", 0.5, 60.0))
    assert (tally.runs["a"], tally.failures["a"]) == (KEPT + 3, KEPT + 2)
    assert tally.seconds["a"] == 0.5 * (KEPT + 3)


def test_hunt():
    """Failures are told at once, and then what is kept of them; afterwards nothing is under way."""
    found = []
    with Hunt(["handovers"], jobs=1, seeds=4, faulty="both-connections-are-fed") as hunt:
        while not found or not hunt.is_over:
            found += hunt.go_on(5.0)

    runs = [one for one in found if isinstance(one, Run)]
    kept = [one for one in found if isinstance(one, Replay)]
    assert [run.seed for run in runs] == [1, 2, 3, 4]
    assert {run.invariant for run in runs} == {6}
    assert {one.seed for one in kept} == {1, 2, 3}
    assert hunt.tally.runs["handovers"] == hunt.tally.failures["handovers"] == 4


def test_mistake_of_ours(monkeypatch: pytest.MonkeyPatch):
    """What is no violation comes to the parent with the seed that it takes to see it again."""

    def fails(*_: object, **__: object) -> None:
        raise LookupError("on purpose")

    monkeypatch.setattr(hunting, "run_seed", fails)
    with pytest.raises(LookupError) as found:
        _run_some("calm", range(3, 5), "")
    assert pickle.loads(pickle.dumps(found.value)).__notes__ == ["in the scenario calm with the seed 3"]

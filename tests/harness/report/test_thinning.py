"""A timeline that is too big loses what tells least, and what is lost is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report.lanes import Lane, Mark, lanes
from harness.report.thinning import NEAR_SECONDS, shares, thin
from tests.harness.report.samples import audio, console, row


def marks(found: tuple[Lane, ...]) -> list[Mark]:
    """All of them."""
    return [mark for lane in found for mark in lane.marks]


def test_what_fits_is_left_alone():
    """At the limit nothing is left out."""
    found = lanes([audio(at) for at in range(100)])

    assert thin(found, 100) == (found, 0)


def test_audio_goes_first_and_evenly():
    """Faults, errors and events stay; what is left of the audio is spread over the whole time."""
    rows = [audio(at) for at in range(1000)] + [console(500, "E (9) lost"), row(501, "fault", "test", what="cut")]
    kept, left_out = thin(lanes(rows), 102)

    assert left_out == 900
    assert {mark.tone for mark in marks(kept)} == {"sent", "error", "fault"}
    assert [mark.at for mark in marks(kept) if mark.tone == "sent"] == [float(at) for at in range(0, 1000, 10)]


def test_near_the_failure_everything_stays():
    """What led to it is not thinned while there is room."""
    rows = [audio(at / 10) for at in range(1000)]
    kept, _ = thin(lanes(rows), 150, failed_at=50.0)

    near = [mark for mark in marks(kept) if abs(mark.at - 50.0) <= NEAR_SECONDS]
    assert len(near) == 20 * NEAR_SECONDS + 1
    assert len(marks(kept)) == 150


@given(st.lists(st.integers(0, 2000), max_size=60), st.integers(0, 3000), st.one_of(st.none(), st.floats(0, 2000)))
def test_never_more_than_the_limit(times, limit, failed_at):
    """What is kept and what is left out are everything, in order."""
    found = lanes([audio(at) if at % 3 else console(at, "x") for at in times])
    kept, left_out = thin(found, limit, failed_at)

    assert len(marks(kept)) == min(limit, len(times)) == len(times) - left_out
    assert all(list(lane.marks) == sorted(lane.marks, key=lambda mark: mark.at) for lane in kept)
    assert [lane.title for lane in kept] == [lane.title for lane in found]


@given(st.lists(st.integers(0, 5000), max_size=40), st.integers(1, 5000))
def test_shares_fit_the_page(sizes, most):
    """Nobody gets more than it has, and all together not more than there is."""
    given_ = shares(sizes, most, each=1000)

    assert all(share <= min(size, 1000) for share, size in zip(given_, sizes, strict=True))
    assert sum(given_) <= most
    if sum(min(size, 1000) for size in sizes) <= most:
        assert given_ == [min(size, 1000) for size in sizes]


def test_the_first_is_served_first_and_the_last_is_not_starved():
    """The failing scenario has its full share, and each that passed a tenth of one."""
    assert shares([5000] * 5, 2000, each=1000) == [1000, 700, 100, 100, 100]

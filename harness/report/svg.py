"""Draws a timeline as one SVG that needs nothing else: for attachments, and for pages that show pictures only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from math import floor, log10

from harness.report.figures import number
from harness.report.lanes import Lane, lanes
from harness.report.markup import Markup, tag
from harness.report.placing import Placed, binned, cut, labels
from harness.report.spans import Bar
from harness.report.thinning import TIMELINE_MARKS, thin
from harness.report.wording import Row

WIDTH = 1080
_GUTTER = 150
"""For the titles of lanes: 20 letters."""
_EDGE = WIDTH - 12
_TOP = 46
_LANE = 46
_MARKS_Y = 15
_LABELS_Y = 37
_CELL = 6.7
"""Of the labels' font at 11 px: 0.6 em, as monospaced fonts have, and a little, since fonts differ."""
_TICKS = 8


def timeline_svg(rows: Iterable[Row], title: str, failed_at: float | None = None, left_out: int = 0) -> str:
    """Return the drawing of a whole timeline.

    Args:
        rows: as `harness.timeline.Timeline.rows` yields them, masked.
        title: what is above it.
        failed_at: where the line of the failure is.
        left_out: entries that are not among the rows.
    """
    found, thinned = thin(lanes(rows), TIMELINE_MARKS, failed_at)
    scale = Scale(found, failed_at)
    height = _TOP + _LANE * len(found) + 34
    return tag(
        "svg",
        tag("title", title),
        tag("style", Markup(files(__package__).joinpath("timeline.css").read_text(encoding="utf-8"))),
        tag("rect", class_="paper", width=WIDTH, height=height),
        tag("text", cut(title, int((WIDTH - 24) / 8)), class_="title", x=12, y=24),
        *_axis(scale, height - 26),
        *(drawn for place, lane in enumerate(found) for drawn in _lane(lane, _TOP + place * _LANE, scale)),
        *_failure(scale, failed_at, height - 26),
        tag("text", _footer(left_out + thinned), class_="left-out", x=12, y=height - 9),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH,
        height=height,
        role="img",
    )


class Scale:
    """From seconds of the timeline to places."""

    def __init__(self, found: Sequence[Lane], failed_at: float | None) -> None:
        times = [mark.at for lane in found for mark in lane.marks]
        times += [] if failed_at is None else [failed_at]
        self.began = min(times, default=0.0)
        self.ended = max(max(times, default=0.0), self.began + 0.001)

    def __call__(self, at: float) -> float:
        """Return where a time is."""
        share = (at - self.began) / (self.ended - self.began)
        return round(_GUTTER + share * (_EDGE - 10 - _GUTTER), 1)

    def ticks(self) -> Iterator[float]:
        """Return round times, at most ten."""
        step = (self.ended - self.began) / _TICKS
        size = 10.0 ** floor(log10(step))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step)
        first = int(self.began / step) + (self.began > int(self.began / step) * step)
        return (round(n * step, 6) for n in range(first, int(self.ended / step + 1e-9) + 1))


def _axis(scale: Scale, bottom: int) -> Iterator[Markup]:
    for at in scale.ticks():
        yield tag("line", class_="grid", x1=scale(at), x2=scale(at), y1=_TOP - 6, y2=bottom)
        yield tag("text", f"{number(at)} s", class_="tick", x=scale(at), y=bottom + 17, text_anchor="middle")


def _lane(lane: Lane, top: int, scale: Scale) -> Iterator[Markup]:
    yield tag("line", class_="rule", x1=12, x2=_EDGE, y1=top - 4, y2=top - 4)
    yield tag("text", cut(lane.title, int((_GUTTER - 24) / _CELL)), class_="lane", x=12, y=top + _MARKS_Y + 4)
    placed = binned((scale(mark.at), mark) for mark in lane.marks)
    yield tag("line", class_="track", x1=_GUTTER, x2=_EDGE, y1=top + _MARKS_Y, y2=top + _MARKS_Y)
    yield from (_bar(bar, top, scale) for bar in lane.bars)
    for one in placed:
        yield shape(lane, one, top + _MARKS_Y)
    for label in labels(placed, _GUTTER - 1, _EDGE, _CELL):
        yield tag("text", label.text, class_="label", x=max(label.x - 3, _GUTTER - 3), y=top + _LABELS_Y)


def _bar(bar: Bar, top: int, scale: Scale) -> Markup:
    width = max(1.0, round(scale(bar.ended) - scale(bar.began), 1))
    kind = f"bar {bar.kind}"
    return tag("rect", tag("title", bar.text), class_=kind, x=scale(bar.began), y=top + 3, width=width, height=24, rx=3)


def shape(lane: Lane, placed: Placed, y: float) -> Markup:
    """Return a mark: what it is for is told by its form, too, not by its colour alone."""
    x, mark = placed.x, placed.mark
    title = tag("title", f"{mark.at:.3f} s  {mark.who}  {mark.text}" + f" (+{placed.count - 1})" * (placed.count > 1))
    style = f"mark {lane.kind} {mark.tone}"
    if lane.kind == "frames":
        d = f"M{x} {y - 9}l4 7h-8z" if mark.tone == "sent" else f"M{x} {y + 9}l4 -7h-8z"
        return tag("path", title, class_=style, d=d)
    if lane.kind == "console":
        return tag("rect", title, class_=style, x=round(x - 1, 1), y=y - 7, width=2, height=14)
    if lane.kind == "gateway":
        return tag("circle", title, class_=style, cx=x, cy=y, r=4)
    if lane.kind == "network":
        return tag("path", title, class_=style, d=f"M{x} {y - 5}l5 5l-5 5l-5 -5z")
    if lane.kind == "power":
        return tag("path", title, class_=style, d=f"M{x + 2} {y - 9}l-6 10h4l-2 8l6 -10h-4z")
    return tag("path", title, class_=style, d=f"M{x - 1} {y + 8}v-16l8 4l-6 4v8z")


def _failure(scale: Scale, failed_at: float | None, bottom: int) -> Iterator[Markup]:
    if failed_at is None:
        return
    x = scale(failed_at)
    yield tag("line", class_="failure", x1=x, x2=x, y1=_TOP - 6, y2=bottom)
    anchor = "end" if x > WIDTH - 60 else "middle"
    yield tag("text", "failed", class_="failed", x=min(x, _EDGE), y=_TOP - 10, text_anchor=anchor)


def _footer(left_out: int) -> str:
    return f"{number(left_out)} entries are left out" if left_out else ""

"""The measurements of a page: the worst first, each with its plot, beside the baseline and the limit."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.figures import change, quantity
from harness.report.markup import Markup, tag
from harness.report.plots import strip
from harness.report.record import Judgement, Measurement

_ORDER: tuple[Judgement, ...] = ("over limit", "worse", "no baseline", "ok")
_SIGNS: dict[Judgement, str] = {"over limit": "✕", "worse": "✕", "no baseline": "–", "ok": "✓"}
_LEGEND = "dots: repeats · upright line: their median · band: spread of the baseline · dashed: limit"


def measurements(found: Sequence[Measurement], cell: int) -> Markup | None:
    """Return the section; None where nothing was measured."""
    if not found:
        return None
    ordered = sorted(found, key=lambda one: _ORDER.index(one.judgement))
    bad = sum(one.bad for one in found)
    return tag(
        "section",
        tag("h2", "Measurements", tag("span", f"{bad} of {len(found)} not good" if bad else "", class_="count")),
        tag("p", _LEGEND, class_="small soft"),
        tag("ul", *(tag("li", measured(one)) for one in ordered), class_="measured"),
        id=f"measurements-{cell}",
    )


def measured(one: Measurement) -> Markup:
    """Return one measurement."""
    judgement = one.judgement.replace(" ", "-")
    return tag(
        "div",
        tag("div", tag("h3", one.title), tag("p", one.why, class_="small soft"), class_="name"),
        tag("p", quantity(one.value, one.unit), class_="value"),
        tag("p", *_against(one), class_="against small"),
        strip(one) or tag("p", "not measured", class_="small soft strip"),
        tag("p", tag("span", _SIGNS[one.judgement], aria_hidden="true"), " ", one.judgement, class_="judgement"),
        class_=f"measurement {judgement}",
    )


def _against(one: Measurement) -> list[Markup]:
    lines = []
    if one.baseline:
        by = change(one.value, one.baseline.value)
        of = f" ({one.baseline.build})" if one.baseline.build else ""
        was = f"was {quantity(one.baseline.value, one.unit)}{of}"
        lines.append(tag("span", was, tag("strong", f" {by}") if by else None))
    if one.limit.at_most is not None:
        lines.append(tag("span", f"at most {quantity(one.limit.at_most, one.unit)}"))
    if one.limit.at_least is not None:
        lines.append(tag("span", f"at least {quantity(one.limit.at_least, one.unit)}"))
    return lines

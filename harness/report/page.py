"""The page: one HTML file that asks nobody for anything, in the reader's order: verdict, what decided it, the rest."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from harness.report.figures import number
from harness.report.markup import Markup, join, tag
from harness.report.measured import measured, measurements
from harness.report.particulars import about, crashes, evidence, flashed
from harness.report.record import GRAVEST, Cell, Measurement, Record, Scenario
from harness.report.scenarios import ORDER, scenarios, spotlight
from harness.report.timelines import Timelines
from harness.report.verdicts import LABELS, attempts, badge, head, matrix

_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
)
"""Only this page's own script and style, and no address at all: not even an image can be asked for."""


def page(record: Record) -> str:
    """Return the page of a record, whose secrets have been masked."""
    ordered = _most_telling_first(record)
    timelines = {id(scenario): place for place, (_, scenario) in enumerate(ordered)}
    first = next(((cell, scenario) for cell, scenario in ordered if scenario.bad), None)
    script, style = _file("report.js"), _file("report.css")
    policy = _POLICY.format(script=_sha256(script), style=_sha256(style))
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", _title(record)),
            tag("style", style),
        ),
        tag(
            "body",
            tag("a", "Skip to the results", class_="skip", href="#results"),
            head(record),
            tag("main", *_results(record, first, timelines), id="results"),
            about(record.run),
            Timelines([scenario for _, scenario in ordered]).script(),
            tag("script", script),
        ),
        lang="en",
    )


def _results(record: Record, first: tuple[Cell, Scenario] | None, timelines: dict[int, int]) -> list[Markup | None]:
    several = len(record.cells) > 1
    shown = spotlight(first[0], first[1], timelines[id(first[1])], several=several) if first else _decisive(record)
    top = first[1] if first else None
    places = sorted(range(len(record.cells)), key=lambda place: GRAVEST.index(record.cells[place].verdict))
    return [
        shown,
        matrix(record.cells),
        *(_cell(record.cells[place], place, top, timelines, several=several) for place in places),
    ]


def _cell(cell: Cell, place: int, first: Scenario | None, timelines: dict[int, int], *, several: bool) -> Markup:
    sections = join(
        attempts(cell) if several else None,
        measurements(cell.measurements, place),
        scenarios(cell, place, first, timelines),
        crashes(cell, place, timelines),
        flashed(cell.flashed, place),
        evidence(cell, place),
    )
    if not several:
        return tag("div", sections, id=f"cell-{place}", class_="cell")
    title = tag("h2", f"{cell.build.name} on {cell.board.id}")
    summary = tag("summary", badge(cell.verdict), title, tag("span", cell.why, class_="soft"))
    return tag("details", summary, sections, id=f"cell-{place}", class_="cell card", open=cell.verdict != "pass")


def _decisive(record: Record) -> Markup | None:
    """Return the measurement that decided, where no scenario failed."""
    for cell in sorted(record.cells, key=lambda cell: GRAVEST.index(cell.verdict)):
        for one in _by_name(cell):
            where = tag("p", f"{cell.build.name} on {cell.board.id}", class_="line soft")
            return tag(
                "section",
                where if len(record.cells) > 1 else None,
                measured(one),
                class_="card spotlight failed",
                id="first",
                aria_label="what decided the verdict",
            )
    return None


def _by_name(cell: Cell) -> list[Measurement]:
    """The measurements that speak against the build, the one that decided first."""
    bad = [one for one in cell.measurements if one.bad]
    return sorted(bad, key=lambda one: one.name != cell.decided_by)


def _most_telling_first(record: Record) -> list[tuple[Cell, Scenario]]:
    """All scenarios: those of the gravest cells, that decided, or failed, first."""
    every = [(cell, scenario) for cell in record.cells for scenario in cell.scenarios]
    return sorted(
        every,
        key=lambda pair: (
            not pair[1].bad,
            GRAVEST.index(pair[0].verdict),
            pair[1].name != pair[0].decided_by,
            ORDER.index(pair[1].outcome),
        ),
    )


def _title(record: Record) -> str:
    cells = record.cells
    what = f"{cells[0].build.name} on {cells[0].board.id}" if len(cells) == 1 else f"{number(len(cells))} results"
    return f"{LABELS[record.verdict]} – {what}"


def _file(name: str) -> Markup:
    return Markup(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""The scenarios of a page: the one that decided stands at the top, open; the others below, to be opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.report.figures import duration
from harness.report.markup import Markup, several_lines, tag
from harness.report.record import Cell, Crash, Outcome, Scenario
from harness.report.verdicts import badge

ORDER: tuple[Outcome, ...] = ("failed", "error", "skipped", "passed")
_SIGNS: dict[Outcome, str] = {"failed": "✕", "error": "!", "skipped": "–", "passed": "✓"}
MESSAGE_CHARACTERS = 6_000
"""Of why a scenario failed: an expectation with the console's last lines has some 3,000."""


def spotlight(cell: Cell, scenario: Scenario, timeline: int, *, several: bool) -> Markup:
    """Return the scenario that decided, open."""
    where = f"{cell.build.name} on {cell.board.id}" if several else None
    blames = badge(scenario.blames) if scenario.blames and scenario.blames != cell.verdict else None
    return tag(
        "section",
        tag("p", _outcome(scenario), blames, tag("span", where) if where else None, _seconds(scenario), class_="line"),
        tag("h2", scenario.doc or scenario.name),
        tag("p", tag("code", scenario.name), class_="small soft id"),
        *_body(cell, scenario, timeline),
        class_=f"card spotlight {scenario.outcome}",
        id="first",
        aria_label="what decided the verdict",
    )


def scenarios(cell: Cell, number: int, first: Scenario | None, timelines: dict[int, int]) -> Markup | None:
    """Return the section of all scenarios; None where none was run.

    Args:
        cell: whose.
        number: of the cell.
        first: the one that stands at the top of the page.
        timelines: number of the timeline of each scenario of the page, by its identity.
    """
    if not cell.scenarios:
        return None
    ordered = sorted(cell.scenarios, key=lambda scenario: ORDER.index(scenario.outcome))
    return tag(
        "section",
        tag("h2", "Scenarios", tag("span", _counts(cell.scenarios), class_="count")),
        _filters(cell.scenarios, number),
        tag("ul", *(tag("li", _item(cell, one, first, timelines[id(one)])) for one in ordered), class_="scenarios"),
        tag("p", "No scenario is like that.", class_="nothing soft", hidden=True),
        id=f"scenarios-{number}",
        class_="scenario-list",
    )


def crash(one: Crash) -> Markup:
    """Return a crash with its dump."""
    at = f" at {one.at:.3f} s" if one.at is not None else ""
    return tag(
        "details",
        tag("summary", tag("strong", f"{one.kind}{at}"), tag("code", one.signature) if one.signature else None),
        block(one.text, "the crash, decoded"),
        class_="crash",
        open=True,
    )


def block(text: str, label: str, limit: int | None = None) -> Markup:
    """Return a text of several lines, which scrolls by keyboard, too, where it is long."""
    shown = several_lines(text, limit) if limit else several_lines(text)
    return tag("pre", shown, tabindex="0", role="region", aria_label=label)


def command(text: str, label: str) -> Markup | None:
    """Return a command with a button that copies it; None where there is none."""
    if not text:
        return None
    button = tag("button", "Copy", type="button", class_="copy", aria_label=f"Copy the command: {label}")
    # each word in one piece: browsers would break a line behind the hyphens of an option
    words = [piece for word in text.split(" ") for piece in (" ", tag("span", word))][1:]
    return tag("div", tag("span", label, class_="small soft"), tag("code", *words), button, class_="command")


def _item(cell: Cell, scenario: Scenario, first: Scenario | None, timeline: int) -> Markup:
    title = tag("span", scenario.doc or scenario.name, class_="doc")
    if scenario is first:
        above = tag("a", _outcome(scenario), title, tag("span", "shown at the top", class_="soft small"), href="#first")
        return tag("div", above, class_="scenario", id=f"scenario-{timeline}", **_found_by(scenario))
    return tag(
        "details",
        tag("summary", _outcome(scenario), title, _seconds(scenario)),
        tag("p", tag("code", scenario.name), class_="small soft id"),
        *_body(cell, scenario, timeline),
        class_="scenario",
        id=f"scenario-{timeline}",
        **_found_by(scenario),
    )


def _found_by(scenario: Scenario) -> dict[str, str]:
    return {
        "data_outcome": scenario.outcome,
        "data_text": " ".join([scenario.name, scenario.doc, scenario.group, scenario.message[:500]]).lower(),
    }


def _body(cell: Cell, scenario: Scenario, timeline: int) -> Iterable[Markup | None]:
    if scenario.message:
        yield block(scenario.message, "why", MESSAGE_CHARACTERS)
    yield command(scenario.reproduce, "reproduce")
    if scenario.timeline:
        no_script = tag("noscript", tag("p", "The timeline is drawn by a script, which is switched off here."))
        yield tag("figure", no_script, class_="timeline", data_timeline=str(timeline))
    yield from (crash(one) for one in cell.crashes if one.scenario == scenario.name)


def _outcome(scenario: Scenario) -> Markup:
    sign = tag("span", _SIGNS[scenario.outcome], aria_hidden="true")
    return tag("span", sign, " ", scenario.outcome, class_=f"outcome {scenario.outcome}")


def _seconds(scenario: Scenario) -> Markup | None:
    if scenario.outcome == "skipped":
        return None
    return tag("span", duration(scenario.seconds), class_="soft small seconds")


def _counts(found: Sequence[Scenario]) -> str:
    counts = [(outcome, sum(one.outcome == outcome for one in found)) for outcome in ORDER]
    return ", ".join(f"{count} {outcome}" for outcome, count in counts if count)


def _filters(found: Sequence[Scenario], number: int) -> Markup | None:
    if len(found) < 5:
        return None
    outcomes = [outcome for outcome in ORDER if any(one.outcome == outcome for one in found)]
    toggles = [
        tag("button", outcome, type="button", class_="toggle", data_outcome=outcome, aria_pressed="true")
        for outcome in outcomes
    ]
    search = tag("input", type="search", placeholder="search scenarios", aria_label="search scenarios")
    return tag("div", *toggles, search, class_="filters", role="group", aria_label=f"filter scenarios {number + 1}")

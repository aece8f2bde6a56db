"""What stands below the results of a cell: crashes outside of scenarios, what was flashed, what it all rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.report.figures import duration, quantity
from harness.report.markup import Markup, tag
from harness.report.record import Cell, Crash, PartUsed, Run
from harness.report.scenarios import command, crash


def crashes(cell: Cell, number: int, timelines: dict[int, int]) -> Markup | None:
    """Return the crashes; those of a scenario stand there, and are named here with a link to it."""
    if not cell.crashes:
        return None
    places = {scenario.name: timelines[id(scenario)] for scenario in cell.scenarios}
    inside = [one for one in cell.crashes if one.scenario in places]
    outside = [crash(one) for one in cell.crashes if one.scenario not in places]
    return tag(
        "section",
        tag("h2", "Crashes", tag("span", str(len(cell.crashes)), class_="count")),
        tag("ul", *(tag("li", _named(one, places[one.scenario])) for one in inside)) if inside else None,
        *outside,
        id=f"crashes-{number}",
    )


def flashed(parts: Sequence[PartUsed], number: int) -> Markup | None:
    """Return what was written and what was skipped; None where nothing is known."""
    if not parts:
        return None
    written = [part for part in parts if part.written]
    total = f"{quantity(sum(part.bytes for part in written), 'bytes')} written, {len(parts) - len(written)} skipped"
    heads = tag("tr", *(tag("th", text, scope="col") for text in ("part", "offset", "size", "", "because")))
    rows = [
        tag(
            "tr",
            tag("th", part.label, scope="row"),
            tag("td", f"{part.offset:#x}", class_="number"),
            tag("td", quantity(part.bytes, "bytes"), class_="number"),
            tag("td", _written(part)),
            tag("td", part.because),
        )
        for part in parts
    ]
    table = tag("table", tag("thead", heads), tag("tbody", *rows))
    title = f"flashed-{number}-title"
    return tag(
        "section",
        tag("h2", "Flashed", tag("span", total, class_="count"), id=title),
        tag("div", table, class_="wide", tabindex="0", role="region", aria_labelledby=title),
        id=f"flashed-{number}",
    )


def evidence(cell: Cell, number: int) -> Markup:
    """Return what was real and what was not, and the environment."""
    build, board = cell.build, cell.board
    facts = {
        "board": f"{board.id}, {board.chip}, {'virtual' if board.virtual else 'silicon'}",
        "real": ", ".join(board.evidence.real),
        "not real": ", ".join(board.evidence.stood_in),
        "build": " ".join(filter(None, [build.name, build.project, build.version])),
        "made with": " ".join(filter(None, [build.layout, build.idf])),
        "ELF (SHA-256)": build.elf_sha256,
        **cell.environment,
    }
    return tag("section", tag("h2", "What this rests on"), _list(facts), id=f"evidence-{number}")


def about(run: Run) -> Markup:
    """Return the foot of the page."""
    return tag("footer", command(run.reproduce, "run it again"), _list({"run": run.id, **run.tools}))


def _named(one: Crash, place: int) -> Markup:
    where = tag("a", tag("code", one.scenario), href=f"#scenario-{place}")
    return tag("span", tag("strong", one.kind), " in ", where, " ", tag("code", one.signature, class_="soft"))


def _written(part: PartUsed) -> str:
    if not part.written:
        return "skipped"
    return f"written in {duration(part.seconds)}" if part.seconds else "written"


def _list(facts: dict[str, str]) -> Markup:
    return tag("dl", *_entries(facts))


def _entries(facts: dict[str, str]) -> Iterable[Markup]:
    for name, value in facts.items():
        if value:
            yield tag("div", tag("dt", name), tag("dd", value))

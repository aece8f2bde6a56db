"""The head of the page: the verdict, what it rests on, what was tried again, and the matrix of builds and boards."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.figures import duration
from harness.report.markup import Markup, tag
from harness.report.record import Attempt, Cell, Record, Verdict, gravest

LABELS: dict[Verdict, str] = {
    "pass": "pass",
    "firmware": "firmware fault",
    "gateway": "gateway fault",
    "rig": "rig fault",
    "network": "network fault",
}
SIGNS: dict[Verdict, str] = {"pass": "✓", "firmware": "✕", "gateway": "✕", "rig": "!", "network": "!"}
_MEANS: dict[Verdict, tuple[str, str]] = {
    "pass": ("This build is good", "These builds are good"),
    "firmware": ("This build is not good", "Not every build is good"),
    "gateway": ("The gateway failed", "The gateway failed"),
    "rig": ("The rig failed: this says nothing about the build", "The rig failed: this says nothing about the builds"),
    "network": (
        "The network failed: this says nothing about the build",
        "The network failed: this says nothing about the builds",
    ),
}


def badge(verdict: Verdict, text: str | None = None) -> Markup:
    """Return a verdict in its colour, with a sign for those who do not see colours."""
    sign = tag("span", SIGNS[verdict], aria_hidden="true")
    return tag("span", sign, " ", text or LABELS[verdict], class_=f"badge {verdict}")


def head(record: Record) -> Markup:
    """Return the verdict with what was tried."""
    means = _MEANS[record.verdict][len({cell.build.name for cell in record.cells}) > 1]
    return tag(
        "header",
        tag("p", badge(record.verdict), _virtual(record.cells), class_="badges"),
        tag("h1", means),
        tag("p", record.why, class_="why"),
        tag("p", *_tried(record), class_="meta"),
        attempts(record.cells[0]) if len(record.cells) == 1 else None,
        class_=f"verdict {record.verdict}",
    )


def matrix(cells: Sequence[Cell]) -> Markup | None:
    """Return builds × boards as a table; None where there is but one cell."""
    if len(cells) < 2:
        return None
    builds = list(dict.fromkeys(cell.build.name for cell in cells))
    boards = list(dict.fromkeys(cell.board.id for cell in cells))
    found: dict[tuple[str, str], list[int]] = {}
    for number, cell in enumerate(cells):
        found.setdefault((cell.build.name, cell.board.id), []).append(number)
    rows = [
        tag(
            "tr",
            tag("th", build, scope="row"),
            *(tag("td", _cell(cells, found.get((build, board), ()))) for board in boards),
        )
        for build in builds
    ]
    heads = tag("tr", tag("td"), *(tag("th", board, scope="col") for board in boards))
    table = tag("table", tag("thead", heads), tag("tbody", *rows))
    return tag(
        "section",
        tag("h2", "Builds and boards", id="matrix-title"),
        tag("div", table, class_="wide", tabindex="0", role="region", aria_labelledby="matrix-title"),
        class_="matrix",
        id="matrix",
        aria_labelledby="matrix-title",
    )


def _cell(cells: Sequence[Cell], numbers: Sequence[int]) -> Markup:
    if not numbers:
        return tag("span", "not tried", class_="soft")
    worst = gravest(cells[number].verdict for number in numbers)
    number = next(number for number in numbers if cells[number].verdict == worst)
    cell = cells[number]
    again = tag("span", f"attempt {len(cell.attempts) + 1}", class_="soft") if cell.attempts else None
    return tag("a", badge(worst), again, tag("span", cell.why, class_="small"), href=f"#cell-{number}")


def _virtual(cells: Sequence[Cell]) -> Markup | None:
    virtual = sum(cell.board.virtual for cell in cells)
    if not virtual:
        return None
    words = ("virtual board" if virtual == 1 else "virtual boards") if virtual == len(cells) else "some boards virtual"
    return tag("a", words, class_="badge soft", href="#evidence-0")


def _tried(record: Record) -> list[Markup]:
    cells, run = record.cells, record.run
    if len(cells) == 1:
        build, board = cells[0].build, cells[0].board
        version = f" {build.version}" if build.version and build.version not in build.name else ""
        what = [tag("strong", build.name, version), " on ", tag("strong", board.id), f" ({board.chip})"]
    else:
        good = sum(cell.verdict == "pass" for cell in cells)
        again = sum(bool(cell.attempts) for cell in cells)
        what = [tag("strong", f"{good} of {len(cells)}"), " pass", Markup(f", {again} tried again" if again else "")]
    took = [tag("span", "took ", duration(run.seconds)), tag("time", _date(run.began), datetime=run.began)]
    return [tag("span", *what), *took]


def _date(began: str) -> str:
    return began.replace("T", " ").replace("Z", " UTC")


def attempts(cell: Cell) -> Markup | None:
    """Return what was tried again on another board, and why; None where the first attempt is the result."""
    if not cell.attempts:
        return None
    steps = [_attempt(attempt) for attempt in cell.attempts]
    last = tag("li", tag("strong", cell.board.id), " ", badge(cell.verdict), " ", tag("span", "this result"))
    return tag("div", tag("h2", "Tried again"), tag("ol", *steps, last), class_="attempts")


def _attempt(attempt: Attempt) -> Markup:
    return tag("li", tag("strong", attempt.board), " ", badge(attempt.verdict), " ", tag("span", attempt.why))

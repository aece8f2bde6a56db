"""What the documentation shows that is made of the code: options, fixtures, scenarios, twins, an example's failure.

Each stands between ``<!-- made: name -->`` and ``<!-- end -->``; run this file as a program to write them anew.
"""

import ast
import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.bench.bench_reference import TABLES, capability_rows, table_rows
from harness.exploration import twice
from harness.exploration.scenarios import SCENARIOS
from harness.faults.fault_reference import fault_rows, schedule_rows
from harness.faulty.twins import by_subject, twins
from harness.firmware.chips import CHIPS
from harness.invariants.all import INVARIANTS
from harness.validation.metrics import metric_rows
from harness.validation.verdicts import rule_rows
from pytest_wsdevice import fixtures
from pytest_wsdevice.markers import MARKERS
from pytest_wsdevice.options import SETTINGS
from tests.harness.exploration.test_timing_twins import WITHIN
from tests.harness.virtual.esptool_operations import CELLS, OPERATIONS

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT / "pytest_wsdevice" / "conformance"
BLOCK = re.compile(r"(<!-- made: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

PAIN_POINTS = {
    1: "`send_json` is not there: AttributeError",
    2: "the event loop is bound where the server is made",
    3: "heartbeats are handled in several places",
    4: "a delayed snapshot is a task that nobody keeps",
    5: "a port that is taken is noticed late, or never",
    6: "a device that reconnects stands against itself",
    7: "JSON is sent in several ways",
    8: "the thread pool is fixed, and one per connection",
    9: "offline messages are redelivered without tracking",
    10: "coroutines are scheduled from threads into a loop that may not run",
}


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def options() -> str:
    """All options."""
    rows = ((f"`{one.option} {one.metavar}`", f"`{one.variable}`", one.default or "–", one.help) for one in SETTINGS)
    return table(("option", "environment", "default", "what it does"), rows)


def markers() -> str:
    """All markers."""
    parted = (line.partition(": ") for line in MARKERS)
    return table(("marker", "what it says"), ((f"`{name}`", text) for name, _, text in parted))


def fixture_table() -> str:
    """All fixtures, in the order of the module."""
    found = {name: one for name, one in vars(fixtures).items() if name.startswith("ws_")}
    texts = {name: inspect.getdoc(getattr(one, "__wrapped__", one)) or "" for name, one in found.items()}
    rows = ((f"`{name}`", text.split("\n")[0].replace("``", "`")) for name, text in texts.items())
    return table(("fixture", "what it is"), rows)


def scenarios() -> Iterator[tuple[str, str, str]]:
    """File, name and sentence of each scenario."""
    for path in sorted(CONFORMANCE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name.startswith("test_"):
                yield path.name, node.name, (ast.get_docstring(node) or "").split("\n")[0]


def scenario_list() -> str:
    """All scenarios, by file."""
    lines: list[str] = []
    last = ""
    for file, name, sentence in scenarios():
        if file != last:
            module = ast.get_docstring(ast.parse((CONFORMANCE / file).read_text())) or ""
            lines += ["", f"**{file}**: {module.split(chr(10))[0]}", ""]
            last = file
        lines.append(f"- `{name.removeprefix('test_')}`: {sentence}")
    return "\n".join(lines).strip()


def found_by(name: str) -> str:
    """The scenarios that find a twin, without repeating those that differ only in their parameters."""
    if twins()[name].scenario:
        return f"seeds of `wsdevice explore --scenario {twins()[name].scenario}`"
    plain = dict.fromkeys(scenario.partition("[")[0] for scenario in twins()[name].found_by)
    return ", ".join(f"`{scenario.replace('::test_', '::')}`" for scenario in plain)


def pain_point_table() -> str:
    """The field's ten defects, each with the twins that have it, and the scenarios that find those."""

    def rows() -> Iterator[tuple[str, ...]]:
        for number, text in PAIN_POINTS.items():
            for hole in (False, True):
                for one in twins().values():
                    if (one.pain_point, one.hole) == (number, hole):
                        what = "what its first fix leaves" if hole else text
                        yield str(number), what, f"`{one.name}`", found_by(one.name)

    return table(("", "pain point", "faulty twin", "found by"), rows())


def twin_table() -> str:
    """All twins."""
    rows = ((f"`{one.name}`", one.says, found_by(one.name)) for _, subject in by_subject() for one in subject)
    return table(("faulty twin", "what is wrong with it", "found by"), rows)


def failure() -> str:
    """What the terminal shows of the tutorial's failure; in virtual time it is the same each time."""
    example = (ROOT / "tests" / "examples" / "test_tutorial.py").read_text()
    test = example.replace('event="redelivered", to=hallway.device_id, count=1', 'event="redelivered", count=2')
    assert test != example
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_first.py").write_text(test)
        Path(directory, "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
        plugins = [part for name in ("randomly", "anyio", "pytest_embedded") for part in ("-p", f"no:{name}")]
        command = [sys.executable, "-m", "pytest", "-q", "--ws-network", "sim", *plugins]
        ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    shown = re.search(r"(?m)^(E   .*(?:\n.*)*?entries in all\))", ended.stdout)
    assert shown, ended.stdout
    lines = [line for line in shown[1].splitlines() if line.strip() and "/harness/" not in line]
    return "\n".join(["```text", *lines, "```"])


def bench_file() -> str:
    """All settings of a bench file, a table for each of its tables."""
    head = ("key", "takes", "default", "meaning")
    return "\n\n".join(f"**`{name}`**\n\n{table(head, table_rows(name))}" for name in TABLES)


def capabilities() -> str:
    """What boards have and tests need."""
    return table(("capability", "meaning"), capability_rows())


def esptool_operations() -> str:
    """What esptool can do with a virtual board: the table that its tests run."""
    words = {"payload": "FILE", "changed": "FILE", "ram": "FILE", "out": "FILE", "efuses": "ADDRESS"}
    head = ("esptool …", "what it does", *(f"{CHIPS[chip].title} {loader}" for chip, loader in CELLS))
    rows = ((f"`{one.command.format(**words)}`", one.what, *(one.cell(*cell) for cell in CELLS)) for one in OPERATIONS)
    return table(head, rows)


def faults() -> str:
    """All faults."""
    return table(("fault", "values", "what happens", "on"), fault_rows())


def fault_schedules() -> str:
    """All kinds of schedules."""
    return table(("schedule", "what goes wrong"), schedule_rows())


def invariant_table() -> str:
    """All invariants, with when each is looked at, and where it is."""
    rows = [(one.number, one.says, one.when, one.__module__) for one in INVARIANTS]
    rows.append((twice.NUMBER, twice.SAYS, twice.WHEN, twice.__name__))
    lines = (
        (str(number), says, when, f"`{module.replace('.', '/')}.py`") for number, says, when, module in sorted(rows)
    )
    return table(("", "what must hold", "looked at", "where"), lines)


def explored_scenarios() -> str:
    """All scenarios of the model."""
    return table(("scenario", "what happens"), ((f"`{one.name}`", one.says) for one in SCENARIOS.values()))


def timed_twins() -> str:
    """The twins that only timing reveals."""
    rows = ((f"`{name}`", twins()[name].says, f"`{twins()[name].scenario}`", str(WITHIN[name])) for name in WITHIN)
    return table(("faulty twin", "what is wrong with it", "scenario", "found within so many seeds"), rows)


def measurements() -> str:
    """All measurements of a build."""
    return table(("measurement", "unit", "limit", "at fault", "what exactly"), metric_rows())


def verdict_rules() -> str:
    """Which evidence gives which verdict, in its order."""
    return table(("what was found", "verdict"), rule_rows())


MADE: dict[str, Callable[[], str]] = {
    "options": options,
    "markers": markers,
    "fixtures": fixture_table,
    "scenarios": scenario_list,
    "pain-points": pain_point_table,
    "twins": twin_table,
    "failure": failure,
    "faults": faults,
    "fault-schedules": fault_schedules,
    "bench-file": bench_file,
    "capabilities": capabilities,
    "esptool-operations": esptool_operations,
    "invariants": invariant_table,
    "explored-scenarios": explored_scenarios,
    "timed-twins": timed_twins,
    "measurements": measurements,
    "verdicts": verdict_rules,
}


def made(page: Path) -> str:
    """Return a page with each block as the code has it."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{MADE[block[2]]()}\n\n{block[3]}", page.read_text())


def pages() -> list[Path]:
    """The pages that have such blocks."""
    return [page for page in sorted(ROOT.glob("docs/**/*.md")) if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_are_as_the_code_is(page):
    """Run this file as a program to write them anew."""
    assert page.read_text() == made(page)


def test_every_table_is_shown():
    """A table that no page shows helps nobody."""
    text = "".join(page.read_text() for page in pages())

    assert [name for name in MADE if f"<!-- made: {name} -->" not in text] == []


def test_every_scenario_has_a_sentence():
    """The list of scenarios says what each of them demands."""
    assert [name for _, name, sentence in scenarios() if not sentence.endswith(".")] == []


def test_every_pain_point_has_its_twins():
    """Each of the ten is there as it hurt, and as its first fix still hurts."""
    have = {(one.pain_point, one.hole) for one in twins().values()}

    assert {(number, hole) for number in PAIN_POINTS for hole in (False, True)} <= have


if __name__ == "__main__":
    for path in pages():
        path.write_text(made(path))

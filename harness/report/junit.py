"""Writes a record as JUnit XML: one suite for each build and board, its facts as properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET

from gateway.identity import escaped
from harness.report.figures import quantity
from harness.report.markup import several_lines
from harness.report.record import Cell, Measurement, Record, Scenario

_RIG = {"rig", "network"}


def junit(record: Record) -> bytes:
    """Return the XML, encoded.

    Scenarios and measurements are test cases, and so is the verdict: it may be the only one, when nothing could be run.
    A fault of rig or network, and what could not be carried out, is an ``error``; all else that is bad a ``failure``.
    """
    root = ET.Element("testsuites", {"name": "wsdevice validate", "time": _seconds(record.run.seconds)})
    for cell in record.cells:
        root.append(_suite(record, cell))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root, " ")
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(record: Record, cell: Cell) -> ET.Element:
    suite = ET.Element("testsuite", {"name": _clean(f"{cell.build.name} on {cell.board.id}")})
    suite.set("timestamp", _clean(record.run.began.removesuffix("Z")))
    suite.set("time", _seconds(cell.seconds))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(record, cell):
        ET.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    suite.append(_verdict(cell))
    suite.extend(_measurement(cell, one) for one in cell.measurements)
    suite.extend(_scenario(cell, one) for one in cell.scenarios)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(kind) is not None for case in cases)))
    return suite


def _properties(record: Record, cell: Cell) -> Iterator[tuple[str, str]]:
    yield "wsdevice.verdict", cell.verdict
    yield "wsdevice.why", cell.why
    yield "wsdevice.run", record.run.id
    yield "wsdevice.build", cell.build.name
    yield "wsdevice.build.version", cell.build.version
    yield "wsdevice.board", cell.board.id
    yield "wsdevice.chip", cell.board.chip
    yield "wsdevice.virtual", "true" if cell.board.virtual else "false"
    yield "wsdevice.attempts", str(len(cell.attempts) + 1)
    for number, attempt in enumerate(cell.attempts, 1):
        yield f"wsdevice.attempt.{number}", f"{attempt.board}: {attempt.verdict}: {attempt.why}"
    yield from _of_mapping("wsdevice.tool", record.run.tools)
    yield from _of_mapping("wsdevice.environment", cell.environment)
    for one in cell.measurements:
        if one.value is not None:
            yield f"wsdevice.measurement.{one.name}", f"{one.value:.10g} {one.unit}".strip()


def _of_mapping(prefix: str, mapping: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{prefix}.{name}", value) for name, value in mapping.items())


def _verdict(cell: Cell) -> ET.Element:
    case = _case(cell, "verdict", "verdict", cell.seconds)
    if cell.verdict != "pass":
        _outcome(case, "error" if cell.verdict in _RIG else "failure", cell.verdict, cell.why, "")
    return case


def _measurement(cell: Cell, one: Measurement) -> ET.Element:
    case = _case(cell, "measurements", one.name, 0.0)
    if one.bad:
        _outcome(case, "failure", one.judgement, f"{one.title}: {quantity(one.value, one.unit)}: {one.why}", "")
    elif not one.values:
        _outcome(case, "skipped", "not measured", one.why, "")
    return case


def _scenario(cell: Cell, one: Scenario) -> ET.Element:
    case = _case(cell, one.group or "scenarios", one.name, one.seconds)
    message = several_lines(one.message) or one.doc
    if one.outcome == "skipped":
        _outcome(case, "skipped", "skipped", message.split("\n")[0], "")
    elif one.bad:
        kind = "error" if one.outcome == "error" or one.blames in _RIG else "failure"
        reproduce = f"\n\nreproduce: {one.reproduce}" if one.reproduce else ""
        _outcome(case, kind, one.blames or one.outcome, message.split("\n")[0], message + reproduce)
    return case


def _case(cell: Cell, group: str, name: str, seconds: float) -> ET.Element:
    where = f"{cell.build.name}.{cell.board.id}.{group}".replace(" ", "_")
    return ET.Element("testcase", {"classname": _clean(where), "name": _clean(name), "time": _seconds(seconds)})


def _outcome(case: ET.Element, element: str, kind: str, message: str, text: str) -> None:
    outcome = ET.SubElement(case, element, {"type": _clean(kind), "message": _clean(message)})
    if text:
        outcome.text = "\n".join(_clean(line) for line in text.split("\n"))


def _clean(text: str) -> str:
    """Show as escapes what XML cannot hold, NUL for one, and what is not printable anyway."""
    return escaped(text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"

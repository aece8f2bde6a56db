"""A record as results for Allure, as JSON: tests with steps and attachments, categories, environment.

Written without allure-pytest, which knows tests of pytest only: here measurements and the verdict are results, too.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.report.figures import quantity
from harness.report.markup import several_lines
from harness.report.record import Cell, Measurement, Record, Scenario, Verdict
from harness.report.svg import timeline_svg
from harness.report.wording import Row, said

STEPS = 200
"""Of one device, the last ones: Allure's page becomes slow with thousands."""
_BROKEN = {"rig", "network"}

_ERRORS: dict[Verdict, str] = {
    "firmware": "BoardCrashed|LineMissing|FirmwareWouldFail",
    "gateway": "ExpectationFailed|UpgradeRefused",
    "network": "CannotConnect|NotConnected",
    "rig": "PortFailed|PortMissing|PortForbidden|PortBusy|PortSilent|PortVanished|FlashFailed|NoSync|FlashTimeout",
}
"""Exceptions that pytest's own results begin with, and whose fault they are."""

CATEGORIES: list[dict[str, Any]] = [
    {
        "name": f"{verdict} faults",
        # Allure 2 wants the whole message to match, Allure 3 looks for a match, and has no inline flags
        "messageRegex": rf"^(?:\[{verdict}\]|(?:[\w.]+\.)?(?:{errors})\b)[\s\S]*",
        "matchedStatuses": ["failed", "broken"],
    }
    for verdict, errors in _ERRORS.items()
]
"""One list for both: Allure 2 reads it as ``categories.json`` beside the results, Allure 3 in its ``allurerc.json``."""

ALLURERC: dict[str, Any] = {
    "name": "wsdevice",
    "categories": CATEGORIES,
    "plugins": {"awesome": {"options": {"singleFile": True}}},
}
"""For Allure 3: ``allure generate --config allurerc.json``."""


def write_allure(record: Record, directory: Path) -> None:
    """Write the results of a record, whose secrets have been masked, into ``directory``, which is there.

    ``allurerc.json`` is written beside it, since Allure 3 does not look among results.
    """
    for name, text in _about(record).items():
        directory.joinpath(name).write_text(text, encoding="utf-8")
    directory.with_name("allurerc.json").write_text(_json(ALLURERC), encoding="utf-8")
    for number, cell in enumerate(record.cells):
        place = _Place(record, cell, number)
        for result in _results(place, directory):
            directory.joinpath(f"{result['uuid']}-result.json").write_text(_json(result), encoding="utf-8")


def environment_properties(facts: dict[str, str]) -> str:
    r"""Return facts as a Java properties file, which is Latin-1: anything else is written as ``\uXXXX``."""
    return "".join(f"{_property(name, key=True)} = {_property(value)}\n" for name, value in facts.items() if value)


def steps_by_device(rows: Iterable[Row]) -> dict[str, list[tuple[float, str]]]:
    """Return what each device did and what was done to it: seconds and words, the last `STEPS` of each.

    Devices stand in the order in which they first appear; the gateway and the test stand for themselves.
    """
    found: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        source, target = str(row.get("source", "")), str(row.get("target", ""))
        who = target if source == "gateway" and target else source
        way = f"{source} -> {target}  " if row.get("kind") == "frame" else ""
        found.setdefault(who, []).append((float(row.get("at", 0.0)), way + said(row)))
    return {who: steps[-STEPS:] for who, steps in found.items()}


class _Place:
    """Where results belong: the build and board, in words that stay the same when another board is used."""

    def __init__(self, record: Record, cell: Cell, number: int) -> None:
        self.record = record
        self.cell = cell
        self.number = number
        same = [other for other in record.cells[:number] if self._role(other) == self._role(cell)]
        self.role = cell.board.chip + (f" #{len(same) + 1}" if same else "")
        self.began = _milliseconds(record.run.began)

    @staticmethod
    def _role(cell: Cell) -> tuple[str, str]:
        return cell.build.name, cell.board.chip

    def result(self, name: str, title: str, group: str, seconds: float) -> dict[str, Any]:
        """Return what all results have in common; it has passed until something else is said.

        The board is a parameter that is excluded from the history: another board of its kind goes on with the same one.
        """
        stable = _without_board(name, self.cell.board.id)
        history = f"{stable}|{self.cell.build.name}|{self.role}"
        return {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.record.run.id}/{self.number}/{group}/{name}")),
            "historyId": hashlib.sha256(history.encode()).hexdigest()[:32],
            "testCaseId": hashlib.sha256(stable.encode()).hexdigest()[:32],
            "fullName": stable,
            "name": title,
            "status": "passed",
            "stage": "finished",
            "start": self.began,
            "stop": self.began + int(1000 * seconds),
            "labels": self._labels(group, title),
            "parameters": [
                {"name": "build", "value": self.cell.build.name},
                {"name": "role", "value": self.role},
                {"name": "board", "value": self.cell.board.id, "excluded": True},
                {"name": "version", "value": self.cell.build.version, "excluded": True},
            ],
            "steps": [],
            "attachments": [],
        }

    def _labels(self, group: str, title: str) -> list[dict[str, str]]:
        labels = {"epic": "wsdevice", "feature": group, "story": title, "framework": "wsdevice validate"}
        suites = {"parentSuite": self.cell.build.name, "suite": self.role, "subSuite": group}
        tags = [{"name": "tag", "value": "virtual"}] if self.cell.board.virtual else []
        return [{"name": name, "value": value} for name, value in {**labels, **suites}.items()] + tags


def _about(record: Record) -> dict[str, str]:
    facts = {"verdict": record.verdict, "why": record.why, **record.run.tools}
    for cell in record.cells:
        key = f"{cell.build.name} on {cell.board.id}"
        facts[key] = f"{cell.build.version} ({cell.board.chip}, {'virtual' if cell.board.virtual else 'silicon'})"
        facts |= {f"{key}: {name}": value for name, value in cell.environment.items()}
    return {
        "categories.json": _json(CATEGORIES),
        "environment.properties": environment_properties(facts),
        "executor.json": _json({"name": "wsdevice validate", "type": "wsdevice", "buildName": record.run.id}),
    }


def _results(place: _Place, directory: Path) -> Iterator[dict[str, Any]]:
    yield _verdict(place)
    yield from (_measurement(place, one) for one in place.cell.measurements)
    yield from (_scenario(place, one, directory) for one in place.cell.scenarios)


def _verdict(place: _Place) -> dict[str, Any]:
    cell = place.cell
    result = place.result("verdict", "verdict", "verdict", cell.seconds)
    result["description"] = cell.why
    if cell.verdict != "pass":
        _fail(result, "broken" if cell.verdict in _BROKEN else "failed", cell.verdict, cell.why)
    result["steps"] = [
        _step(f"{attempt.board}: {attempt.verdict}: {attempt.why}", place.began, "broken") for attempt in cell.attempts
    ]
    return result


def _measurement(place: _Place, one: Measurement) -> dict[str, Any]:
    result = place.result(one.name, one.title, "measurements", 0.0)
    result["description"] = one.why
    shown = {"value": quantity(one.value, one.unit)}
    if one.baseline:
        shown["baseline"] = quantity(one.baseline.value, one.unit)
    result["parameters"] += [{"name": name, "value": value, "excluded": True} for name, value in shown.items()]
    if one.bad:
        _fail(result, "failed", place.cell.verdict if place.cell.verdict != "pass" else "firmware", one.why)
    elif not one.values:
        result |= {"status": "skipped", "statusDetails": {"message": one.why}}
    return result


def _scenario(place: _Place, one: Scenario, directory: Path) -> dict[str, Any]:
    result = place.result(one.name, one.doc or one.name, one.group or "scenarios", one.seconds)
    if one.outcome == "skipped":
        result |= {"status": "skipped", "statusDetails": {"message": one.message}}
    elif one.bad:
        broken = one.outcome == "error" or one.blames in _BROKEN
        _fail(result, "broken" if broken else "failed", one.blames, several_lines(one.message))
    for who, steps in steps_by_device(one.timeline).items():
        inner = [_step(f"{at:.3f} s  {text}", place.began + int(1000 * at)) for at, text in steps]
        result["steps"].append({**_step(who, place.began), "stop": result["stop"], "steps": inner})
    for name, kind, extension, text in _attachments(place.cell, one):
        source = f"{result['uuid']}-{len(result['attachments'])}-attachment.{extension}"
        directory.joinpath(source).write_text(text, encoding="utf-8")
        result["attachments"].append({"name": name, "source": source, "type": kind})
    return result


def _attachments(cell: Cell, one: Scenario) -> Iterator[tuple[str, str, str, str]]:
    if one.reproduce:
        yield "reproduce", "text/plain", "txt", one.reproduce + "\n"
    for crash in cell.crashes:
        if crash.scenario == one.name:
            yield f"crash: {crash.kind}", "text/plain", "txt", several_lines(crash.text) + "\n"
    if one.bad and one.timeline:
        drawing = timeline_svg(one.timeline, one.doc or one.name, one.failed_at, one.dropped)
        yield "timeline (drawn)", "image/svg+xml", "svg", drawing
        rows = b"\n".join(msgspec.json.encode(row) for row in one.timeline)
        yield "timeline", "application/x-ndjson", "jsonl", rows.decode() + "\n"


def _fail(result: dict[str, Any], status: str, verdict: str | None, message: str) -> None:
    result["status"] = status
    result["statusDetails"] = {"message": f"[{verdict}] {message}" if verdict else message}


def _step(name: str, start: int, status: str = "passed") -> dict[str, Any]:
    return {"name": name, "status": status, "stage": "finished", "start": start, "stop": start, "steps": []}


def _without_board(name: str, board: str) -> str:
    """Take a board's id out of the parameters in a test's id: ``test_pong[s3-box-tcp]`` is ``test_pong[tcp]``."""
    head, bracket, rest = name.partition("[")
    kept = re.sub(rf"(?:^|-){re.escape(board)}(?=-|$)", "", rest.removesuffix("]")).strip("-")
    return f"{head}[{kept}]" if bracket and kept else head


def _property(text: str, *, key: bool = False) -> str:
    special = r"[\\:=\s]" if key else r"[\\\r\n]"
    text = re.sub(special, lambda found: {"\n": "\\n", "\r": "\\r"}.get(found[0], "\\" + found[0]), text)
    return "".join(c if " " <= c <= "~" else "".join(f"\\u{unit:04x}" for unit in _utf16(c)) for c in text)


def _utf16(character: str) -> Iterator[int]:
    encoded = character.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2))


def _milliseconds(began: str) -> int:
    """When a run began, for Allure; 0 where the record's time is none."""
    try:
        return int(datetime.fromisoformat(began).astimezone(UTC).timestamp() * 1000)
    except ValueError:
        return 0


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"

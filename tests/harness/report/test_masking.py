"""No secret that is anywhere in a record is in any report of it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from harness.redaction import MASK, Redactor
from harness.report.masking import masked
from harness.report.record import Record, decode, encode
from harness.report.writing import write_report
from tests.harness.report.samples import FAILING, MATRIX, row

SECRET = "hunter2-ßtreet&<3"
PLANTED = f"x {SECRET} y"


def is_literal(kind: Any) -> bool:
    """Whether a field holds words of ours, and no text."""
    return any(get_origin(one) is Literal for one in (kind, *get_args(kind)))


def planted(value: Any) -> Any:
    """The same, with the secret in every text that is free to be one."""
    if isinstance(value, msgspec.Struct):
        fields = [field for field in msgspec.structs.fields(value) if not is_literal(field.type)]
        return msgspec.structs.replace(value, **{f.name: planted(getattr(value, f.name)) for f in fields})
    if isinstance(value, dict):
        kept = {"kind", "event", "opcode"} if "kind" in value else set()
        own = {} if kept else {f"secret {SECRET}": SECRET}
        return {name: part if name in kept else planted(part) for name, part in value.items()} | own
    if isinstance(value, tuple):
        return tuple(map(planted, value))
    return value + PLANTED if isinstance(value, str) else value


def with_secrets() -> Record:
    """The matrix with secrets everywhere, and a binary frame that holds one."""
    frame = row(
        1.0, "frame", "s3", "gateway", opcode="binary", base64=base64.b64encode(PLANTED.encode("latin-1")).decode()
    )
    record = msgspec.structs.replace(planted(MATRIX), schema=MATRIX.schema)
    cells = tuple(
        msgspec.structs.replace(
            cell, scenarios=tuple(msgspec.structs.replace(s, timeline=(*s.timeline, frame)) for s in cell.scenarios)
        )
        for cell in record.cells
    )
    return msgspec.structs.replace(record, cells=cells)


def test_no_secret_in_any_file(tmp_path: Path):
    """Planted in every field of a record, it is in none of the files, nor in a name of one, in no encoding."""
    record = with_secrets()
    assert encode(record).decode().count(SECRET.replace('"', '\\"')) > 300

    write_report(record, tmp_path, Redactor([SECRET]))

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".html", ".json", ".xml", ".svg", ".txt", ".jsonl", ".properties"}
    for path in files:
        text = path.read_text()
        assert "hunter2" not in text, path
        assert "hunter2" not in str(path)
        assert base64.b64encode(PLANTED.encode("latin-1")).decode()[4:20] not in text, path
    assert MASK in (tmp_path / "report.html").read_text()


def test_without_a_redactor_what_looks_like_a_secret_is_masked(tmp_path: Path):
    """A token in a console line is a secret, whether or not anybody said so."""
    line = row(0.0, "console", "s3", line='I (9) OTA: {"token":"abc.def.ghi"} Authorization: Bearer topsecret')
    scenario = msgspec.structs.replace(FAILING.cells[0].scenarios[2], timeline=(line,))
    cell = msgspec.structs.replace(FAILING.cells[0], scenarios=(scenario,))

    write_report(msgspec.structs.replace(FAILING, cells=(cell,)), tmp_path)

    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            assert "abc.def" not in path.read_text()
            assert "topsecret" not in path.read_text()


@pytest.mark.parametrize(
    "word", ["firmware", "passed", "over limit", "console", "DeviceOnline", "wsdevice.validation/1"]
)
def test_a_secret_that_is_a_word_of_ours_does_not_spoil_the_record(word):
    """A password may be any word; a record with it masked can still be read, and means the same."""
    read = decode(encode(masked(FAILING, Redactor([word]))))

    assert [s.outcome for s in read.cells[0].scenarios] == [s.outcome for s in FAILING.cells[0].scenarios]
    kinds = [[row["kind"] for row in s.timeline] for s in read.cells[0].scenarios]
    assert kinds == [[row["kind"] for row in s.timeline] for s in FAILING.cells[0].scenarios]


def test_what_no_file_could_hold_becomes_question_marks():
    """Half of a surrogate pair, as a decoder may leave it, does not keep a report from being written."""
    record = masked(msgspec.structs.replace(FAILING, why="\ud83d!"), Redactor())

    assert record.why == "?!"
    assert decode(encode(record)) == record


def test_nothing_else_changes():
    """Without secrets a record is what it was."""
    assert masked(FAILING, Redactor()) == FAILING

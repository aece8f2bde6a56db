"""``wsdevice validate``: from the command line to the report and the exit code."""

import json

import pytest

from harness.cli import main
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from harness.firmware.spoiled_builds import spoil
from harness.redaction import Redactor
from harness.report.record import decode
from harness.validation import cli
from harness.validation.baseline import load
from harness.validation.exit_codes import ValidationExit


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Make a build in the current folder, and return its name."""
    monkeypatch.chdir(tmp_path)

    def build(name, *options, spoiled=""):
        make_build(tmp_path / name, CHIPS["esp32s3"], program=" ".join(["#!builtin firmware", *options]))
        if spoiled:
            spoil(tmp_path / name, spoiled)
        return name

    return build


@pytest.mark.slow
def test_builds_on_boards(build, tmp_path, capsys, monkeypatch):
    """Two builds on two boards at once: a matrix, a report of both, a baseline of the good one, no secret anywhere."""
    redactors = []
    monkeypatch.setattr(cli, "Redactor", lambda: redactors.append(Redactor()) or redactors[-1])
    good, leaking = build("kettle"), build("leaking-kettle", "heap_leak=4096")

    code = main(
        [
            *("validate", good, leaking, "--bench=virtual:esp32s3,esp32s3", "--measure=heap", "--repeats=1"),
            *("--scenarios=a_second_hello", "--no-ota", "--report=report"),
            *("--baseline=baseline.toml", "--update-baseline"),
        ]
    )

    out = capsys.readouterr().out
    assert code == ValidationExit.FIRMWARE, out
    record = decode((tmp_path / "report" / "record.json").read_bytes())
    assert [(cell.build.name, cell.verdict) for cell in record.cells] == [
        ("kettle", "pass"),
        ("leaking-kettle", "firmware"),
    ]
    assert len({cell.board.id for cell in record.cells}) == 2
    assert "leaking-kettle on " in out.splitlines()[-2]
    assert "heap slope" in record.why
    assert (tmp_path / "report" / "report.html").exists()
    assert "heap_slope" in load(tmp_path / "baseline.toml").of("esp32s3.virtual")
    (redactor,) = redactors
    texts = [out, *(path.read_text() for path in tmp_path.rglob("report/**/*") if path.is_file())]
    assert redactor.secrets
    assert not any(secret in text for secret in redactor.secrets for text in texts)
    assert not any(str(tmp_path) in text for text in texts[1:])


def test_refused_before_there_is_a_rig(build, capsys):
    """A build that is none needs no board; the record says which and why."""
    code = main(["validate", build("kettle", spoiled="image-too-large"), "--virtual", "--json"])

    record = decode(capsys.readouterr().out.encode())
    assert code == ValidationExit.FIRMWARE == 10
    assert record.verdict == "firmware"
    assert "room" in record.why
    assert record.cells[0].board.id == "none"


def test_other_chip(build, capsys):
    """What --chip asks for has to be what the build is for."""
    code = main(["validate", build("kettle"), "--virtual", "--chip=esp32c3", "--json"])

    assert code == ValidationExit.FIRMWARE
    assert "esp32s3" in json.loads(capsys.readouterr().out)["why"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--bench"),
        (["--bench=none.toml"], "none.toml"),
        (["--bench=virtual:esp32c3"], "ESP32-S3"),
        (["--virtual", "--baseline=none.toml"], "--update-baseline"),
        (["--virtual", "--update-baseline"], "--baseline"),
        (["--virtual", "--config=none.toml"], "none.toml"),
        (["--virtual", "--measure=weight"], "weight"),
        (["--virtual", "--board=kitchen"], "kitchen"),
    ],
)
def test_cannot_start(build, capsys, arguments, said):
    """What is wrong with the command is told, and no board was touched."""
    code = main(["validate", build("kettle"), *arguments])

    assert code == ValidationExit.CANNOT_START
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("span", ["2", "h", "-1s", "2d"])
def test_no_span(build, span, capsys):
    """A soak has a unit."""
    with pytest.raises(SystemExit):
        main(["validate", build("kettle"), f"--soak={span}"])
    assert "2h" in capsys.readouterr().err

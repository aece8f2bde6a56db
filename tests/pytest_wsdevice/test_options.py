"""Options: where they come from, which of them wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wsdevice.options import OPTIONS, SETTINGS
from tests.pytest_wsdevice.conftest import Run

SHOW = """
def test_it(pytestconfig):
    from pytest_wsdevice.options import OPTIONS
    print("seconds", pytestconfig.stash[OPTIONS].timeline_seconds)
"""


@pytest.mark.parametrize(
    ("arguments", "settings", "variable", "seconds"),
    [
        ((), "", "", 10.0),
        ((), "", "2", 2.0),
        ((), 'ws_timeline_seconds = "3"', "2", 3.0),
        (("--ws-timeline-seconds", "4"), 'ws_timeline_seconds = "3"', "2", 4.0),
    ],
    ids=["default", "environment", "file", "command line"],
)
def test_which_wins(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], settings: str, variable: str, seconds: float
):
    """The command line beats the file, which beats the environment."""
    if variable:
        monkeypatch.setenv("WSDEVICE_TEST_TIMELINE_SECONDS", variable)

    result = run(SHOW, "-s", *arguments, settings=settings)

    result.stdout.fnmatch_lines([f"*seconds {seconds}*"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--ws-timeline-seconds", "0"),
            "--ws-timeline-seconds: expected a number of seconds above 0, got 0 (command line)",
        ),
        (("--ws-timeline-seconds", "soon"), "expected a number of seconds above 0, got soon"),
        (("--ws-timeline-seconds", "inf"), "expected a number of seconds above 0, got inf"),
        (("--ws-network", "udp"), "--ws-network: expected auto, tcp or sim, got udp"),
        (("--ws-gateway-url", "http://h"), "--ws-gateway-url: expected an address that begins with ws:// or wss://"),
        (("--ws-gateway-http-url", "h:8003"), "--ws-gateway-http-url: expected an address that begins with http://"),
        (("--ws-gateway-url", "ws://h/", "--ws-network", "sim"), "cannot reach the gateway at --ws-gateway-url"),
        (("--ws-gateway-url", "ws://h/", "--ws-faulty", "x"), "plants a defect in gateways of this package"),
        (("--ws-faulty", "swallows-eror"), "--ws-faulty: expected the name of a faulty twin"),
        (("--ws-gateway-config", "nowhere.toml"), "expected a readable file"),
    ],
)
def test_wrong_value(run: Run, arguments: tuple[str, ...], words: str):
    """A wrong value ends the run with what was expected, what came, and where from."""
    result = run("def test_it():\n    pass\n", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words.replace('[', '[[]')}*"])


def test_paths(run: Run, tmp_path: Path):
    """Files are found from where pytest was called."""
    test = """
def test_it(pytestconfig):
    from pytest_wsdevice.options import OPTIONS
    chosen = pytestconfig.stash[OPTIONS]
    assert chosen.artifacts == pytestconfig.invocation_params.dir / "left"
    assert str(chosen.gateway_config) == "GATEWAY"
"""
    config = tmp_path / "gateway.toml"
    config.write_text("[peer]\nburst = 7\n")

    result = run(test.replace("GATEWAY", str(config)), "--ws-artifacts", "left", f"--ws-gateway-config={config}")

    result.assert_outcomes(passed=1)


def test_help(run: Run):
    """Each option stands in pytest's help, in a group of its own, and each setting among those of the file."""
    result = run("", "--help")

    result.stdout.fnmatch_lines(["gateways and devices (wsdevice):"])
    text = " ".join(result.outlines)
    for setting in SETTINGS:
        assert f"{setting.option} {setting.metavar}" in text.replace("=", " ")
        assert f"{setting.name} (string):" in text


def test_stash(pytestconfig: pytest.Config):
    """This very run has its options, too."""
    assert pytestconfig.stash[OPTIONS].network in {"auto", "tcp", "sim"}

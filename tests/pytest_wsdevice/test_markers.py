"""Markers: registered with their signatures, checked before any test runs."""

from __future__ import annotations

import pytest

from tests.pytest_wsdevice.conftest import Run


def test_registered(run: Run):
    """They are shown with their signatures, and strict markers take them."""
    result = run("", "--markers")

    result.stdout.fnmatch_lines(
        ["@pytest.mark.ws_gateway_config(adapts=False, [*][*]sections): *", "@pytest.mark.ws_needs([*]capabilities): *"]
    )


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("ws_gateway_config({'peer': {}})", "expected sections by their names"),
        ("ws_gateway_config(peer=7)", "expected peer to be a dict of settings, got 7"),
        ("ws_gateway_config(pear={'burst': 1})", "expected a section of gateway.toml (server, auth, *), got 'pear'"),
        ("ws_gateway_config(peer={'brust': 1})", "expected settings of [[]peer[]] (queue, *), got brust"),
        ("ws_needs()", "expected one or more of *"),
        ("ws_needs('telepathy')", "expected one or more of *"),
        ("ws_needs('cut', to='x')", "expected one or more of *"),
    ],
)
def test_wrong_use(run: Run, marker: str, words: str):
    """A marker that is used wrongly ends the run, with the test, what was expected, and the signature."""
    result = run(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(ws_gateway):\n    pass\n")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_it.py::test_it: *{words}*", f"  {marker.partition('(')[0]}(*"])


def test_needs(run: Run):
    """What a run does not have is a skip that says what is missing and where."""
    test = """
import pytest

@pytest.mark.ws_needs("cut", "events", "restart")
def test_met(ws_device):
    pass

@pytest.mark.asyncio
@pytest.mark.ws_needs("tcp")
async def test_not_met(ws_device):
    pass
"""
    result = run(test, "--ws-network", "sim", "-rs")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs tcp, which a simulated network does not have"])

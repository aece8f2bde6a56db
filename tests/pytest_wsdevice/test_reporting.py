"""What is left of a failure: a listing on the terminal, a file, Allure's attachments where Allure is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pytest_wsdevice.conftest import ALLURE, Run

FAILS = """
import pytest

@pytest.mark.asyncio
async def test_tea(ws_devices, ws_gateway):
    kitchen = await ws_devices("kitchen")
    hallway = await ws_devices("hallway")
    await kitchen.send({"type": "peer", "to": [hallway.device_id], "payload": {"text": "tea", "token": "hunter2"}})
    await kitchen.expect("peer", status="done")
    hallway.cut()
    await kitchen.expect("coffee", timeout=0.05)

def test_plain(ws_device):
    ws_device.send({"type": "ping"})
    raise AssertionError("on purpose")
"""


@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_listing(run: Run, network: str):
    """A failure shows what was said and what happened in its last seconds, aligned, the newest last."""
    result = run(FAILS, "--ws-network", network)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            '*kitchen expected a message "coffee", but after 0.1 s it had not come',
            "*- what happened (seconds before the failure; who -> whom; what) -*",
            "  -0.*s  kitchen             connects",
            "  -0.*s  gateway :  kitchen  DeviceOnline replaced=False because=hello",
            '  -0.*s  kitchen -> gateway  {"type":"peer",*"payload":{"text":"tea","token":[*][*][*]*',
            '  -0.*s  gateway -> hallway  {"type":"peer","from":*',
            '  -0.*s  hallway -> gateway  {"type":"peer","event":"ack",*',
            "  -0.*s  gateway :  hallway  PeerDelivered *confirm=ack*",
            '  -0.*s  gateway -> kitchen  {"type":"peer",*"delivered":*',
            "  -0.*s  hallway             cuts its connection: end of TCP, no Close frame",
            "  -0.*s  gateway :  hallway  DeviceOffline",
            "(* entries in all)",
            "*- the whole timeline -*",
            "*test_it.py-test_tea.call.jsonl",
            "*on purpose*",
            '  -0.*s  device  -> gateway  {"type":"ping"}',
        ]
    )


def test_file(run: Run, tmp_path: Path):
    """Everything is in a file of JSON lines, in the directory that was asked for; without secrets."""
    run(FAILS, "--ws-artifacts", str(tmp_path / "a" / "b"))

    files = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert files == ["test_it.py-test_plain.call.jsonl", "test_it.py-test_tea.call.jsonl"]
    text = (tmp_path / "a" / "b" / files[1]).read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["kind"] for row in rows} == {"frame", "event", "lifecycle", "fault"}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert "hunter2" not in text


def test_seconds(run: Run):
    """How much of it the terminal shows can be set."""
    test = """
import time

def test_it(ws_device):
    ws_device.send({"type": "ping", "id": "early"})
    time.sleep(0.5)
    ws_device.send({"type": "ping", "id": "late"})
    raise AssertionError
"""
    result = run(test, settings='ws_timeline_seconds = "0.3"')

    result.stdout.fnmatch_lines(['*{"type":"ping","id":"late"}'])
    result.stdout.no_fnmatch_line('*{"type":"ping","id":"early"}')


def test_nothing_of_a_test_that_passed(run: Run, tmp_path: Path):
    """A test that passes leaves nothing."""
    result = run("def test_it(ws_device):\n    pass\n", "--ws-artifacts", str(tmp_path / "a"))

    result.assert_outcomes(passed=1)
    assert not (tmp_path / "a").exists()


def test_nothing_of_a_test_without_fixtures(run: Run):
    """Tests that use none of it are reported as ever."""
    result = run("def test_it():\n    raise AssertionError\n")

    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*what happened*")


def test_header(run: Run):
    """The head of the report says what is tested, and where settings that are not the default come from."""
    result = run("def test_it():\n    pass\n", "--ws-network", "sim", settings='ws_timeline_seconds = "7"')

    result.stdout.fnmatch_lines(
        [
            "wsdevice: a gateway of this package, started for each test; fake devices over a simulated network*",
            "wsdevice: ws_network = sim (command line)",
            "wsdevice: ws_timeline_seconds = 7 (configuration file)",
        ]
    )


def test_allure(run: Run, tmp_path: Path):
    """With Allure, listing, drawing and file are attached, and each device has its steps, none inside another's."""
    run(FAILS, "-k", "tea", *ALLURE, "--alluredir", str(tmp_path / "allure"))

    (path,) = (tmp_path / "allure").glob("*-result.json")
    result = json.loads(path.read_text())
    attached = {one["name"]: (tmp_path / "allure" / one["source"]).read_text() for one in result["attachments"]}
    assert "cuts its connection" in attached["timeline (last seconds)"]
    assert len(attached["timeline"].splitlines()) > 10
    assert attached["timeline (drawn)"].startswith("<svg")
    assert "hunter2" not in "".join(attached.values()) + str(result["steps"])
    steps = {step["name"]: [own["name"] for own in step["steps"]] for step in result["steps"]}
    assert set(steps) == {"gateway", "hallway", "kitchen"}
    assert all(not step.get("steps") for own in result["steps"] for step in own["steps"])
    assert "DeviceOffline" in steps["hallway"][-1]

"""Results for Allure, written by ourselves: what its report needs, and what keeps histories together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.report.allure_results import (
    ALLURERC,
    CATEGORIES,
    STEPS,
    environment_properties,
    steps_by_device,
    write_allure,
)
from harness.report.record import Record, Verdict
from tests.harness.report.samples import FAILED, FAILING, GOOD, HANDOVER, MATRIX, PANIC, RIG, RUN, WIFI, console


def written(record: Record, directory: Path) -> dict[str, dict[str, Any]]:
    """The results by the name that people see."""
    results = directory / "results"
    results.mkdir(parents=True)
    write_allure(record, results)
    found = [json.loads(path.read_text()) for path in results.glob("*-result.json")]
    return {result["name"]: result for result in found}


def category(message: str) -> str | None:
    """Which category both versions put a message in."""
    whole = [one["name"] for one in CATEGORIES if re.fullmatch(one["messageRegex"], message)]
    partly = [one["name"] for one in CATEGORIES if re.search(one["messageRegex"], message)]
    assert whole[:1] == partly[:1]
    return next(iter(whole), None)


def test_a_failed_scenario(tmp_path: Path):
    """It has its message with the verdict, labels, a step for each device, and attachments that are there."""
    result = written(FAILING, tmp_path)[WIFI.doc]

    assert result["status"] == "failed"
    assert result["statusDetails"]["message"].startswith("[firmware] s3-box expected the event DeviceOnline")
    assert {"name": "feature", "value": "reconnecting"} in result["labels"]
    assert {"name": "tag", "value": "virtual"} in result["labels"]
    assert [step["name"] for step in result["steps"]] == ["test", "s3-box"]
    assert result["steps"][1]["steps"][0]["name"] == "0.000 s  ESP-ROM:esp32s3-20210327"
    assert [one["name"] for one in result["attachments"]] == ["reproduce", "timeline (drawn)", "timeline"]
    assert all((tmp_path / "results" / one["source"]).stat().st_size for one in result["attachments"])


def test_a_crash_is_attached(tmp_path: Path):
    """Decoded, to the scenario it happened in."""
    result = written(FAILING, tmp_path)[HANDOVER.doc]
    (source,) = [one["source"] for one in result["attachments"] if one["name"] == "crash: panic (LoadProhibited)"]

    assert (tmp_path / "results" / source).read_text() == PANIC


def test_measurements_and_the_verdict_are_results(tmp_path: Path):
    """A build that is worse is red although each scenario passed; what was tried again is a step of the verdict."""
    cell = msgspec.structs.replace(FAILED, scenarios=(), attempts=GOOD.attempts)
    results = written(Record(RUN, "firmware", "", (cell,)), tmp_path)

    assert results["verdict"]["status"] == "failed"
    assert results["verdict"]["steps"][0]["name"].startswith("s3-old: rig: the serial port vanished")
    assert results["minimum free heap"]["status"] == "failed"
    assert results["boot to IP address"]["status"] == "passed"
    assert {"name": "value", "value": "39.9\xa0KiB", "excluded": True} in results["minimum free heap"]["parameters"]


@pytest.mark.parametrize(("verdict", "status"), [("rig", "broken"), ("network", "broken"), ("gateway", "failed")])
def test_what_says_nothing_about_the_build_is_broken(tmp_path: Path, verdict: Verdict, status):
    """Allure's word for a test that could not be made."""
    results = written(Record(RUN, verdict, "", (msgspec.structs.replace(RIG, verdict=verdict),)), tmp_path)

    assert results["verdict"]["status"] == status
    assert category(results["verdict"]["statusDetails"]["message"]) == f"{verdict} faults"


def test_another_board_goes_on_with_the_same_history(tmp_path: Path):
    """Neither the board's id nor the version is in it, not even in the parameters of a test's id; the chip is."""
    board = msgspec.structs.replace(FAILED.board, id="s3-new")
    build = msgspec.structs.replace(FAILED.build, version="1.5.0")
    scenarios = (msgspec.structs.replace(WIFI, name=WIFI.name.replace("s3-box", "s3-new")),)
    other = msgspec.structs.replace(FAILED, board=board, build=build, scenarios=scenarios)
    chip = msgspec.structs.replace(FAILED, board=msgspec.structs.replace(board, chip="esp32c3"))

    first = written(FAILING, tmp_path / "a")
    second = written(msgspec.structs.replace(FAILING, cells=(other,)), tmp_path / "b")
    third = written(msgspec.structs.replace(FAILING, cells=(chip,)), tmp_path / "c")

    assert first[WIFI.doc]["fullName"] == second[WIFI.doc]["fullName"] == "test_reconnecting.py::test_wifi_loss"
    for name in second:
        assert first[name]["historyId"] == second[name]["historyId"] != third[name]["historyId"]
    excluded = {one["name"] for one in first["verdict"]["parameters"] if one.get("excluded")}
    assert excluded == {"board", "version"}


def test_two_boards_of_a_kind_do_not_hide_each_other(tmp_path: Path):
    """Results of one history in one report are shown as tries of one test: they must not be of one."""
    twin = msgspec.structs.replace(FAILED, board=msgspec.structs.replace(FAILED.board, id="s3-other"))
    (tmp_path / "results").mkdir()
    write_allure(Record(RUN, "firmware", "", (FAILED, twin)), tmp_path / "results")
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("*-result.json")]

    assert len({result["historyId"] for result in found}) == len(found) == 2 * 14


def test_categories_are_one_list_for_both_versions(tmp_path: Path):
    """Allure 2 finds it among the results, Allure 3 in its own file beside them."""
    written(MATRIX, tmp_path)

    assert json.loads((tmp_path / "results" / "categories.json").read_text()) == CATEGORIES
    assert json.loads((tmp_path / "allurerc.json").read_text()) == ALLURERC
    assert ALLURERC["categories"] is CATEGORIES


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("[rig] the supply says off\nsecond line", "rig faults"),
        ("harness.board.errors.BoardCrashed: s3 crashed", "firmware faults"),
        ("ExpectationFailed: kitchen expected pong", "gateway faults"),
        ("harness.errors.CannotConnect: x", "network faults"),
        ("PortFailedly: x", None),
        ("assert 1 == 2  # [rig]", None),
    ],
)
def test_categories(message, name):
    """By the verdict in front, or by the exception that pytest's own results begin with."""
    assert category(message) == name


def test_steps_by_device():
    """What was done to a device stands with it, and only the last ones stand there."""
    steps = steps_by_device([*WIFI.timeline, *(console(30 + n, f"line {n}") for n in range(STEPS))])

    assert list(steps) == ["test", "s3-box"]
    assert len(steps["s3-box"]) == STEPS
    assert steps["s3-box"][-1] == (30 + STEPS - 1, f"line {STEPS - 1}")
    assert (6.0, "wifi_off on s3-box") in steps["test"]
    assert (
        2.39,
        'gateway -> s3-box  {"type":"hello","transport":"websocket","session_id":"3f2a51c0"}',
    ) in steps_by_device(WIFI.timeline)["s3-box"]


def test_environment_properties():
    """Any text comes through Java's reader: separators of names, line ends, and what is not Latin-1."""
    text = environment_properties({"a b:c=d": "x = y\\z", "名": "漢\n字 😀", "empty": ""})

    assert text == (
        "a\\ b\\:c\\=d = x = y\\\\z\n"
        "\\u540d = \\u6f22\\n\\u5b57 \\ud83d\\ude00\n"
    )  # fmt: skip


def test_the_environment_has_every_build_and_board(tmp_path: Path):
    """And the versions of the tools."""
    written(MATRIX, tmp_path)
    lines = (tmp_path / "results" / "environment.properties").read_text().splitlines()

    assert "esptool = 5.6.0" in lines
    assert "kettle\\ on\\ s3-box = 1.4.2 (esp32s3, virtual)" in lines
    assert "lamp\\ on\\ c3-mini = 2.0.0 (esp32c3, virtual)" in lines


def test_a_run_without_a_time(tmp_path: Path):
    """A record whose time is none is written all the same."""
    results = written(msgspec.structs.replace(FAILING, run=msgspec.structs.replace(RUN, began="soon")), tmp_path)

    assert results["verdict"]["start"] == 0

"""The markers of tests that use gateways and devices, and what is said when one of them is used wrongly."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pytest_wsdevice.simulated import is_async

_GATEWAY_CONFIG = (
    "ws_gateway_config(adapts=False, **sections): settings of the gateway of this test, by section of gateway.toml: "
    'ws_gateway_config(peer={"per_second": 100}). A gateway at --ws-gateway-url that has others is not tested, unless '
    "the test adapts to any (adapts=True)."
)
_NEEDS = (
    "ws_needs(*capabilities): what devices or the gateway must be able to do for this test, and which faults must be "
    'possible: ws_needs("vanish", "events", "half_open"). Where they are not, the test is skipped and says so.'
)
_SEEDS = (
    "ws_seeds(count): run this async test in virtual time, on a simulated network, with the seeds 1 to count, each of "
    "them an item of its own; with --ws-network tcp it runs once."
)
_HIL = (
    "hil: this test runs on boards. Tests that use devices are marked so by themselves where a run asks for boards: "
    "pytest -m hil --ws-bench bench.toml."
)
_BUILD = (
    "ws_build(path): the firmware that the board of this test is to run, relative to the test's file: "
    'ws_build("builds/esp32s3-next").'
)
_FRESH = (
    "ws_fresh(what): how new the board is to this test: 'reset', 'power' (it was without), 'nvs' (provisioned anew) or "
    "'flash' (written anew, all of it)."
)
_DESTRUCTIVE = "ws_destructive: this test may leave anything on its board; it is flashed and provisioned anew after it."
MARKERS = (_GATEWAY_CONFIG, _NEEDS, _SEEDS, _HIL, _BUILD, _FRESH, _DESTRUCTIVE)
FRESH = ("reset", "power", "nvs", "flash")


def add_markers(config: pytest.Config) -> None:
    """Register every marker with its signature."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def check_markers(item: pytest.Item) -> None:
    """Look at all markers of a test.

    Raises:
        pytest.UsageError: one of them is used wrongly.
    """
    needs(item)
    check_seeds(item)
    check_boards(item)
    sections, _ = gateway_config(item)
    if sections:
        _check_settings(item, sections)


def gateway_config(item: pytest.Item) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the settings a test asks for, by section, and whether it adapts to others; the closest marker wins.

    Raises:
        pytest.UsageError: an argument is not a section.
    """
    sections: dict[str, dict[str, Any]] = {}
    adapts = True
    for marker in reversed(list(item.iter_markers("ws_gateway_config"))):  # the closest comes last
        if marker.args:
            raise _wrong(item, marker, "sections by their names")
        for name, settings in marker.kwargs.items():
            if name == "adapts":
                continue
            if not isinstance(settings, dict):
                raise _wrong(item, marker, f"{name} to be a dict of settings, got {settings!r}")
            sections[name] = {**sections.get(name, {}), **settings}
        adapts = adapts and bool(marker.kwargs.get("adapts", False))
    return sections, adapts


def needs(item: pytest.Item) -> list[str]:
    """Return what a test needs, in order, each once.

    Raises:
        pytest.UsageError: a need is none that devices or gateways know.
    """
    found: dict[str, None] = {}
    for marker in item.iter_markers("ws_needs"):
        known = _capabilities()
        if marker.kwargs or not marker.args or not known.issuperset(marker.args):
            raise _wrong(item, marker, f"one or more of {', '.join(sorted(known))}")
        found.update(dict.fromkeys(marker.args))
    return list(found)


def check_seeds(item: pytest.Item) -> None:
    """Look at the markers for seeds, which are read before all items are there.

    Raises:
        pytest.UsageError: one of them is used wrongly.
    """
    for marker in item.iter_markers("ws_seeds"):
        count = marker.args[0] if len(marker.args) == 1 and not marker.kwargs else None
        if type(count) is not int or count < 1:
            raise _wrong(item, marker, "a number of seeds, 1 or more")
        if not is_async(item):
            raise _wrong(item, marker, "an async test: a plain one runs in real time")


def check_boards(item: pytest.Item) -> None:
    """Look at the markers for boards.

    Raises:
        pytest.UsageError: one of them is used wrongly.
    """
    for marker in item.iter_markers("ws_build"):
        if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str):
            raise _wrong(item, marker, "one path")
    for marker in item.iter_markers("ws_fresh"):
        if len(marker.args) != 1 or marker.kwargs or marker.args[0] not in FRESH:
            raise _wrong(item, marker, f"one of {', '.join(FRESH)}")
    for marker in item.iter_markers("ws_destructive"):
        if marker.args or marker.kwargs:
            raise _wrong(item, marker, "no arguments")


def _check_settings(item: pytest.Item, sections: dict[str, dict[str, Any]]) -> None:
    # here and not above: whoever has the plugin installed and does not use it should not load a gateway
    from gateway.config import Config  # noqa: PLC0415
    from pytest_wsdevice.stage import configured  # noqa: PLC0415

    try:
        configured(Config(), sections)
    except pytest.UsageError as error:
        marker = item.get_closest_marker("ws_gateway_config")
        assert marker is not None
        raise _wrong(item, marker, str(error)) from None


def _capabilities() -> set[str]:
    from harness.device import Capability  # noqa: PLC0415
    from harness.gateways import GatewayCapability  # noqa: PLC0415

    return {*get_args(Capability), *get_args(GatewayCapability), "tcp", *fault_names()}


def fault_names() -> set[str]:
    """Return the names of all faults."""
    from harness.faults.vocabulary import KINDS  # noqa: PLC0415

    return set(KINDS)


def _wrong(item: pytest.Item, marker: pytest.Mark, expected: str) -> pytest.UsageError:
    signature = next(line for line in MARKERS if line.startswith((f"{marker.name}(", f"{marker.name}:")))
    arguments = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
    return pytest.UsageError(
        f"{item.nodeid}: @pytest.mark.{marker.name}({', '.join(arguments)}): expected {expected}\n  {signature}"
    )

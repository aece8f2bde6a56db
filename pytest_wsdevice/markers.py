"""The markers of tests that use gateways and devices, and what is said when one of them is used wrongly."""

from __future__ import annotations

from typing import Any, get_args

import pytest

_GATEWAY_CONFIG = (
    "ws_gateway_config(adapts=False, **sections): settings of the gateway of this test, by section of gateway.toml: "
    'ws_gateway_config(peer={"per_second": 100}). A gateway at --ws-gateway-url that has others is not tested, unless '
    "the test adapts to any (adapts=True)."
)
_NEEDS = (
    "ws_needs(*capabilities): what devices or the gateway must be able to do for this test: "
    'ws_needs("vanish", "events"). Where they are not, the test is skipped and says so.'
)
MARKERS = (_GATEWAY_CONFIG, _NEEDS)


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

    return {*get_args(Capability), *get_args(GatewayCapability), "tcp"}


def _wrong(item: pytest.Item, marker: pytest.Mark, expected: str) -> pytest.UsageError:
    signature = next(line for line in MARKERS if line.startswith(f"{marker.name}("))
    arguments = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
    return pytest.UsageError(
        f"{item.nodeid}: @pytest.mark.{marker.name}({', '.join(arguments)}): expected {expected}\n  {signature}"
    )

"""What tests need and a run may not have: such a test is skipped and says so, or, where it can never run, refused."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wsdevice.hil import MARKER, asks_for_boards
from pytest_wsdevice.markers import fault_names, gateway_config, needs
from pytest_wsdevice.options import OPTIONS, Options
from pytest_wsdevice.simulated import is_simulated


def skip_unless_met(item: pytest.Item) -> None:
    """Skip a test that needs what this run does not have, with what that is."""
    options = item.config.stash[OPTIONS]
    missing = [need for need in needs(item) if need not in _available(item, options)]
    lacked = [need for need in missing if need in fault_names()]
    if lacked:
        pytest.skip(_lacking(item, lacked))
    if missing:
        pytest.skip(f"needs {', '.join(missing)}, which {_who(options)} does not have")
    if options.gateway_url:
        _skip_unless_configured(item, options)


def check_loop(item: pytest.Item) -> None:
    """Refuse an async test whose loop lives longer than the test: the fixtures, and what they hold, would not be in it.

    Raises:
        pytest.UsageError: with what is right.
    """
    fixtures: list[str] = getattr(item, "fixturenames", [])
    marker = item.get_closest_marker("asyncio")
    if marker is None or ("ws_stage" not in fixtures and item.get_closest_marker("ws_seeds") is None):
        return
    scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") or _default_scope(item.config)
    if scope != "function":
        raise pytest.UsageError(
            f"{item.nodeid}: expected a test with an event loop of its own, as the ws_ fixtures have, got one with "
            f"loop_scope={scope!r}; mark it @pytest.mark.asyncio(loop_scope='function')"
        )


def _default_scope(config: pytest.Config) -> str:
    try:
        return str(config.getini("asyncio_default_test_loop_scope") or "function")
    except (KeyError, ValueError):  # an older or a newer pytest-asyncio, which has no such setting
        return "function"


def _available(item: pytest.Item, options: Options) -> set[str]:
    from harness.device import CAPABILITIES  # noqa: PLC0415 - who has no such test loads no gateway
    from harness.gateways import OwnGateway  # noqa: PLC0415

    has: set[str] = {*CAPABILITIES, *_faults(item)[1]}
    if not is_simulated(item):
        has.add("tcp")
    if options.gateway_url:
        return has | {"tokens"} if options.gateway_config is not None else has
    return has | OwnGateway.capabilities


def _faults(item: pytest.Item) -> tuple[str, frozenset[str]]:
    """Where the faults of a test would happen, in words, and those that can."""
    if is_simulated(item):
        from harness.faults.simulated_ground import SimulatedGround  # noqa: PLC0415 - who has no such test loads none

        return SimulatedGround.where, SimulatedGround.possible
    from harness.faults.tcp_ground import TcpGround  # noqa: PLC0415 - the same

    # the gateways of a test run in its own process, which nobody can kill; boards connect as they do
    has_boards = item.get_closest_marker(MARKER) is not None and asks_for_boards(item.config)
    of_fakes = {"wifi_off", "wifi_on"} if has_boards else set()
    return TcpGround.where, TcpGround.possible - {"kill_gateway", "start_gateway"} - of_fakes


def _lacking(item: pytest.Item, lacked: list[str]) -> str:
    from harness.faults.ground import NEEDS  # noqa: PLC0415 - the same

    where, _ = _faults(item)
    return "; ".join(f"needs {name}, which {where} cannot do: it takes {NEEDS[name]}" for name in lacked)


def _who(options: Options) -> str:
    if options.gateway_url:
        return f"the gateway at {options.gateway_url}, which shows itself only to its devices,"
    return "a simulated network"


def _skip_unless_configured(item: pytest.Item, options: Options) -> None:
    from pytest_wsdevice.stage import base_config, differing  # noqa: PLC0415

    sections, adapts = gateway_config(item)
    if adapts:
        return
    other: list[Any] = differing(base_config(options), sections)
    if other:
        pytest.skip(
            f"needs a gateway with {', '.join(other)}; if the one at {options.gateway_url} has that, say so with "
            "--ws-gateway-config gateway.toml"
        )

"""``-m hil``: whether a run asks for boards, and which tests can have them.

``hil`` marks a test that runs on boards. The tests that use devices get it by themselves, but only in a run that asks
for it: elsewhere ``-m "not hil"`` would leave nothing over.
"""

from __future__ import annotations

import ast
import itertools

import pytest

MARKER = "hil"
BOARD_FIXTURES = frozenset({"ws_board", "ws_boards", "ws_console", "ws_firmware", "ws_power"})
"""Fixtures that a test cannot have without a board."""
DEVICE_FIXTURES = frozenset({"ws_device", "ws_devices"})
"""Fixtures that are boards in a run that asks for boards, and fake devices in any other."""
_ASKS = pytest.StashKey[bool]()
_MOST_NAMES = 10  # in an expression that is looked at; 2 ** 10 combinations take a millisecond


def asked_for(expression: str) -> bool:
    """Whether an expression of ``-m`` may choose a test for its being marked ``hil``."""
    try:
        tree = ast.parse(expression.strip() or "False", mode="eval").body
    except SyntaxError:
        return False  # pytest says so itself, or it has names that Python has not
    others = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {MARKER})[:_MOST_NAMES]
    for chosen in itertools.product((False, True), repeat=len(others)):
        names = dict(zip(others, chosen, strict=True))
        if _holds(tree, {**names, MARKER: True}) and not _holds(tree, {**names, MARKER: False}):
            return True
    return False


def asks_for_boards(config: pytest.Config) -> bool:
    """Whether a run asks for boards."""
    if _ASKS not in config.stash:
        config.stash[_ASKS] = asked_for(config.getoption("markexpr", ""))
    return config.stash[_ASKS]


def mark_items(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that run on boards; in a run that does not ask for boards, only those that cannot do without."""
    fixtures = BOARD_FIXTURES | DEVICE_FIXTURES if asks_for_boards(config) else BOARD_FIXTURES
    for item in items:
        if fixtures.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(MARKER)


def skip_without_boards(item: pytest.Item) -> None:
    """Skip a test that needs a board in a run that does not ask for any: boards are never touched unasked."""
    if item.get_closest_marker(MARKER) is not None and not asks_for_boards(item.config):
        pytest.skip("runs on boards, which are touched with -m hil only: pytest -m hil --ws-bench bench.toml")


def _holds(node: ast.expr, names: dict[str, bool]) -> bool:
    if isinstance(node, ast.BoolOp):
        values = [_holds(value, names) for value in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, names)
    if isinstance(node, ast.Call):  # marker(name=value)
        return _holds(node.func, names)
    return isinstance(node, ast.Name) and names.get(node.id, False)

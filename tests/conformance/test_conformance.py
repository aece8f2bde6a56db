"""The suite on the gateway of this package: every scenario passes, over sockets and in virtual time."""

from __future__ import annotations

import re

import pytest

from tests.conformance.suite import LONGEST, run_suite
from tests.docs.test_generated_in_docs import scenarios


@pytest.mark.slow
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_every_scenario_passes(network: str):
    """None fails; none is left out, but those that need what only the other network has: real threads, or no time."""
    outcomes = run_suite("--ws-network", network)

    assert outcomes.failed == {}
    assert {name.partition("[")[0] for name in outcomes.ran | set(outcomes.skipped)} == {
        f"{file}::{name}" for file, name, _ in scenarios()
    }
    other = {"tcp": "--ws-network sim", "sim": "needs tcp|, tcp"}[network]
    unwanted = {name: reason for name, reason in outcomes.skipped.items() if not re.search(other, reason)}
    assert unwanted == {}

"""The suite on the gateway of this package: every scenario passes, over sockets and in virtual time."""

from __future__ import annotations

import pytest

from tests.conformance.suite import LONGEST, run_suite
from tests.docs.test_generated_in_docs import scenarios


@pytest.mark.slow
@pytest.mark.timeout(LONGEST)
@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_every_scenario_passes(network: str):
    """None fails; those that run are all but the few that need what a network does not have."""
    outcomes = run_suite("--ws-network", network)

    assert {name: text for name, text in outcomes.items() if text is not None} == {}
    missing = {f"{file}::{name}" for file, name, _ in scenarios()} - {name.partition("[")[0] for name in outcomes}
    assert network == "sim" or missing == set()
    assert len(missing) <= 10

"""Each faulty twin is found by the scenarios that are meant to, with a message that names its defect, and by no other.

And each scenario finds one: a check that nothing makes fail is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

import pytest

from harness.errors import Misuse
from harness.faulty.twins import Twin, by_subject, twin, twins
from tests.conformance.suite import LONGEST, Asked, Runs
from tests.docs.test_generated_in_docs import scenarios

TWINS = twins()
EVERYWHERE = os.environ.get("WSDEVICE_TEST_TWINS") == "all"
"""Look for each twin in the whole suite, which takes minutes; else in the files whose scenarios are to find it."""


TIMED_FILES = (
    "test_delayed_snapshots.py",
    "test_duplicate_connections.py",
    "test_peer_messages.py",
    "test_redelivery.py",
    "test_restart.py",
)
"""Where the twins that only timing reveals would be found if they were not what they are."""


def asked_of(one: Twin) -> Asked:
    """The run that is to find a twin, or is to pass on one that only timing reveals."""
    arguments = "--ws-faulty", one.name, "--ws-network", one.network
    # over sockets the whole suite would take most of a minute for each
    everywhere = EVERYWHERE and one.network == "sim"
    files = TIMED_FILES if one.scenario else tuple(sorted({name.partition("::")[0] for name in one.found_by}))
    return Asked(arguments, () if everywhere else files)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The suite on each twin that this run looks at."""
    found = [item for item in request.session.items if getattr(item, "originalname", "") == test_twin_is_found.__name__]
    names = [item.callspec.params["name"] for item in found if isinstance(item, pytest.Function)]
    begun = Runs({name: asked_of(TWINS[name]) for name in names})
    yield begun
    begun.close()


@pytest.mark.slow
@pytest.mark.timeout(LONGEST * 2)
@pytest.mark.parametrize("name", TWINS)
def test_twin_is_found(runs: Runs, name: str):
    """The scenarios that are meant to fail do (none, of a defect of timing), and each says what is wrong."""
    one = TWINS[name]

    outcomes = runs.outcomes(name)

    # where a scenario is named without parameters, all its variants are meant
    expected = {name for name in outcomes.ran if name in one.found_by or name.partition("[")[0] in one.found_by}
    assert set(outcomes.failed) == expected, "\n\n".join(outcomes.failed.values())
    assert _plain(one.found_by) == _plain(outcomes.failed), "a scenario that is named did not run"
    wordless = [text for text in outcomes.failed.values() if not re.search(one.message, text)]
    assert wordless == [], f"expected messages that match {one.message!r}"


def _plain(names: Iterable[str]) -> set[str]:
    return {name.partition("[")[0] for name in names}


def test_each_scenario_finds_a_twin():
    """No scenario passes on all twins."""
    found = {name for one in TWINS.values() for name in _plain(one.found_by)}

    assert [f"{file}::{name}" for file, name, _ in scenarios() if f"{file}::{name}" not in found] == []


def test_twins_say_what_is_wrong():
    """Each has a sentence, and is found by something."""
    assert [one.name for one in TWINS.values() if not (one.says.endswith(".") and one.message)] == []
    assert [one.name for one in TWINS.values() if bool(one.found_by) == bool(one.scenario)] == []
    assert len(TWINS) >= 20


def test_subjects():
    """Every subject has twins, and every twin its subject."""
    assert all(found for _, found in by_subject())
    assert sum(len(found) for _, found in by_subject()) == len(TWINS)


def test_unknown_twin():
    """A name that is misspelt gets the one that was meant."""
    name = next(iter(TWINS))
    with pytest.raises(Misuse, match=rf"did you mean {name}\?"):
        twin(name + "x")

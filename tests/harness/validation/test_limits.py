"""Limits as people declare them."""

import pytest

from harness.errors import Misuse
from harness.report.record import Limit
from harness.validation.limits import limit_of, limits_in


def test_limits():
    """Either bound, or both; of all partitions, or of one."""
    limits = limits_in(
        {"boot_to_ip": {"at_most": 6}, "free_bytes": {"at_least": 1}, "image_bytes.ota_0": {"at_most": 9}}
    )

    assert limits["boot_to_ip"] == Limit(at_most=6)
    assert limit_of("free_bytes.storage", limits) == Limit(at_least=1)
    assert limit_of("image_bytes.ota_0", limits) == Limit(at_most=9)
    assert limit_of("image_bytes.ota_1", limits) is None


def test_the_first_that_declares_one():
    """Settings go before the baseline."""
    assert limit_of("heap_slope", {}, {"heap_slope": Limit(1)}, {"heap_slope": Limit(2)}) == Limit(1)


@pytest.mark.parametrize(
    "table",
    [
        {"boot_to_moon": {"at_most": 6}},
        {"boot_to_ip": {"at_mots": 6}},
        {"boot_to_ip": {}},
        {"boot_to_ip": {"at_most": "6"}},
        {"boot_to_ip": 6},
        [],
    ],
)
def test_wrong_limits(table):
    """They are refused; a typo must not lift a limit."""
    with pytest.raises(Misuse):
        limits_in(table)

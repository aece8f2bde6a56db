"""How far numbers lie apart, and what a line through them rises."""

import pytest

from harness.errors import Misuse
from harness.validation.spread import median_error, quantile, sigma, slope


def test_quantile():
    """The nearest rank: the least value that so many do not exceed."""
    values = list(range(1, 101))

    assert [quantile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert quantile([7], 0.99) == 7
    assert quantile([1, 2, 3], 0.5) == 2


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 1.1), ([1], -0.1)])
def test_no_quantile(values, share):
    """Without values, or of a share that is none, there is none."""
    with pytest.raises(Misuse):
        quantile(values, share)


def test_sigma_of_a_range():
    """A range of more values speaks of a smaller spread; one value has none."""
    assert sigma(5, 5, 1) == 0
    assert sigma(0, 1.128, 2) == pytest.approx(1)
    assert sigma(0, 3.078, 10) == pytest.approx(1) == pytest.approx(sigma(0, 3.078, 50))


def test_median_error():
    """It shrinks with the root of the count; of one value it is the spread itself."""
    assert median_error(2, 1) == 2
    assert median_error(2, 4) == pytest.approx(1.2533)


def test_slope():
    """A few outliers do not move it; of one point, or at one time, there is none."""
    points = [(x, 100 - 4 * x) for x in range(20)]
    points[7] = (7, 5000)

    assert slope(points) == -4
    assert slope([(1, 1)]) is None
    assert slope([(1, 1), (1, 2)]) is None


def test_slope_of_many_points():
    """Two hours of samples are thinned, which leaves the slope."""
    assert slope([(x, 0.5 * x) for x in range(5000)]) == 0.5

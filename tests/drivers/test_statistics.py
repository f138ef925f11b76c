"""The robust level is that of the many, and right for much data as for little."""

import numpy as np
import pytest

from drivers.statistics import clipped_level


@pytest.mark.parametrize("count", [300, 1_000_000])
def test_outliers_do_not_count(count):
    values = np.random.default_rng(4).normal(50, 4, count)
    values[::20] += 1000
    level, deviation = clipped_level(values)
    assert level == pytest.approx(50, abs=0.6)
    assert deviation == pytest.approx(4, rel=0.1)


def test_equal_values_and_single_ones_have_no_deviation():
    assert clipped_level(np.full((3, 4), 7)) == (7, 0)
    assert clipped_level(np.array([3.0])) == (3, 0)

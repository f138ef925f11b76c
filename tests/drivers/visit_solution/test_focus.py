"""The seeing over the focal plane, and how far it is out of focus."""

import numpy as np
import pytest

from drivers.visit_solution.focus import solve_focus

U, V = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.9, 0.9, 6), np.linspace(-0.9, 0.9, 6)))
BLUR = 3.0


def seeing(focus, heights, *, best=0.7, noise=0.0):
    """Return the width of stars at heights above the science detectors [mm]."""
    wide = best + 0.05 * (U**2 + V**2) + np.random.default_rng(2).normal(0, noise, len(U))
    return np.hypot(wide, BLUR * (heights - focus))


@pytest.fixture
def heights():
    """Four focus detectors at the sides, two of them above the others and two below."""
    made = np.zeros(len(U))
    made[[12, 18]], made[[17, 23]] = 0.15, -0.15
    return made


@pytest.mark.parametrize("focus", [-0.05, 0.0, 0.08])
def test_the_height_of_the_focus_is_found(heights, focus):
    found = solve_focus(seeing(focus, heights, noise=0.005), (U, V), heights, order=2, clip=4)
    assert found.defocus == pytest.approx(focus, abs=0.01)


def test_focus_detectors_do_not_bend_the_surface(heights):
    found = solve_focus(seeing(0.05, heights), (U, V), heights, order=2, clip=4)
    science = heights == 0
    assert np.abs(found.excess[science]).max() < 0.002
    assert np.abs(found.excess[~science]).min() > 0.02


def test_a_ccd_with_a_wrong_seeing_does_not_bend_it(heights):
    wrong = seeing(0.0, heights)
    wrong[7] = 2.0
    found = solve_focus(wrong, (U, V), heights, order=2, clip=4)
    assert found.surface[7] == pytest.approx(seeing(0.0, heights)[7], abs=0.01)


def test_what_was_not_measured_is_not_told(heights):
    widths = seeing(0.0, heights)
    assert solve_focus(widths, (U, V), np.zeros(len(U)), order=2, clip=4).defocus is None
    assert solve_focus(np.full(len(U), np.nan), (U, V), heights, order=2, clip=4) is None

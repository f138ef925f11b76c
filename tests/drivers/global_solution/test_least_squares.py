"""The common solution, against the whole system solved at once, star by star."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from drivers.global_solution.adding_up import Gang
from drivers.global_solution.least_squares import Problem, solve

STARS, PARAMETERS = 60, 5


def problem(*, noise=0.01, seed=1, anchored=40):
    """Return a problem and the parameters which it was made with."""
    random = np.random.default_rng(seed)
    star = np.repeat(np.arange(STARS), 4)
    design = random.normal(size=(len(star), PARAMETERS)) + 0j
    true = random.normal(size=PARAMETERS) + 1j * random.normal(size=PARAMETERS)
    anchor = np.where(np.arange(STARS) < anchored, 0.02, np.inf)
    place = np.where(np.isfinite(anchor), 0.02, 5.0) * _complex(random, STARS)
    value = place[star] - design @ true + noise * _complex(random, len(star))
    levels, error = np.zeros(PARAMETERS, int), np.full(len(star), noise)
    return Problem(star, value, error, csr_matrix(design), levels, 10.0, anchor), true


def _complex(random, count):
    return random.normal(size=count) + 1j * random.normal(size=count)


def at_once(made):
    """Solve for parameters and stars together, with the sizes of the parameters left free."""
    n_stars, rows = len(made.anchor), len(made.star)
    places = np.zeros((rows, n_stars))
    places[np.arange(rows), made.star] = 1
    known = np.flatnonzero(np.isfinite(made.anchor))
    zero = np.zeros((len(known), PARAMETERS))
    anchors = np.eye(n_stars)[known] / made.anchor[known, None]
    matrix = np.block([
        [made.design.toarray() / made.error[:, None], -places / made.error[:, None]],
        [zero, anchors],
    ])  # fmt: skip
    right = np.concatenate([-made.value / made.error, np.zeros(len(known))])
    return np.linalg.lstsq(matrix, right, rcond=None)[0][:PARAMETERS]


def test_eliminating_the_stars_changes_nothing():
    made, true = problem()
    solved = solve(made, Gang(), clip=50)
    assert solved.parameters == pytest.approx(at_once(made), abs=1e-4)  # sizes are learnt: nearly
    assert solved.parameters == pytest.approx(true, abs=0.01)


def test_outliers_and_wrong_places_of_the_catalogue_are_left_out():
    made, true = problem()
    made.value[::17] += 3.0
    wrong = made.star % 10 == 3
    made.value[wrong] += 2.0  # all observations agree, so that the catalogue must be wrong
    solved = solve(made, Gang(), clip=4)
    assert not solved.used[::17].any()
    assert solved.used.mean() > 0.9
    assert not solved.anchored[3:40:10].any()
    assert solved.anchored[:40].mean() > 0.8
    assert solved.parameters == pytest.approx(true, abs=0.01)


def test_the_shares_of_ranks_are_the_whole():
    made, _ = problem()
    shares = [made.share(rank, 3) for rank in range(3)]
    assert sum(len(share.star) for share in shares) == len(made.star)
    assert sum(len(share.anchor) for share in shares) == STARS
    assert all(set(share.star) <= set(range(len(share.anchor))) for share in shares)


def test_without_a_catalogue_only_differences_matter():
    made, true = problem(anchored=0)
    solved = solve(made, Gang(), clip=5)
    assert solved.parameters == pytest.approx(true, abs=0.01)
    assert not solved.anchored.any()

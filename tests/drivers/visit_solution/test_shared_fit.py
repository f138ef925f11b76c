"""What groups share, what each has of its own, and what is believed of either."""

import numpy as np
import pytest

from drivers.visit_solution.legendre import legendre_terms, term_orders
from drivers.visit_solution.shared_fit import Expected, Values, fit_shared

GROUPS = 12


def drawn(per_group, *, steps, seed=1, noise=0.01, curved=0.0):
    """Return values of groups along u, with steps of their own, and the steps."""
    random = np.random.default_rng(seed)
    own = random.normal(0, steps, GROUPS)
    group = np.repeat(np.arange(GROUPS), per_group)
    u = (group + random.uniform(0, 1, len(group))) / GROUPS * 2 - 1
    v = random.uniform(-1, 1, len(group))
    value = 3 + 0.2 * u + curved * u**2 + own[group] + random.normal(0, noise, len(group))
    shared = legendre_terms(u, v, 2)
    error = np.full(len(group), noise)
    return Values(value, error, group, shared, np.ones((len(group), 1))), own


def fitted(values, clip=4.0):
    expected = Expected(term_orders(2), 0.1, np.array([0.03]), 1e-5)
    return fit_shared(values, GROUPS, expected, clip)


def test_groups_with_many_values_go_their_own_way():
    values, own = drawn([200] * GROUPS, steps=0.05)
    fit = fitted(values)
    found = fit.at(legendre_terms(np.zeros(1), np.zeros(1), 2), np.ones((1, 1)), 3)
    assert found[0] == pytest.approx(3 + own[3], abs=0.01)
    # The differences between neighbours are the groups' own: what is shared is smooth.
    assert np.diff(fit.own[:, 0], 2) == pytest.approx(np.diff(own, 2), abs=0.02)


def test_steps_which_are_not_there_are_not_found():
    values, _ = drawn([4] * GROUPS, steps=0.0)
    fit = fitted(values)
    alone = np.array([values.value[values.group == group].mean() for group in range(GROUPS)])
    assert np.std(fit.own) < 0.3 * np.std(
        alone - np.polyval(np.polyfit(range(12), alone, 1), range(12))
    )


def test_a_group_without_values_has_what_is_shared():
    values, _ = drawn([50] * (GROUPS - 1) + [0], steps=0.02)
    assert fitted(values).own[-1, 0] == 0


def test_a_higher_order_is_used_only_if_the_values_show_it():
    with_it = fitted(drawn([20] * GROUPS, steps=0.0, curved=0.3)[0]).shared
    without = fitted(drawn([20] * GROUPS, steps=0.0)[0]).shared
    assert with_it[3] == pytest.approx(0.2, abs=0.01)  # u**2 = 2/3 P2(u) + 1/3
    assert abs(without[3]) < 0.004


def test_outliers_on_one_side_change_nothing():
    values, _ = drawn([50] * GROUPS, steps=0.02)
    clean = fitted(values)
    bad = np.arange(len(values.value)) % 10 == 0
    values.value[bad] += 0.5
    fit = fitted(values)
    assert not fit.used[bad].any()
    assert fit.used[~bad].mean() > 0.98
    assert fit.shared[:3] == pytest.approx(clean.shared[:3], abs=0.003)


def test_errors_which_are_said_too_small_are_noticed():
    values, _ = drawn([50] * GROUPS, steps=0.0)
    small = Values(values.value, values.error / 5, values.group, values.shared, values.own)
    fit = fitted(small)
    assert fit.scale == pytest.approx(5, rel=0.2)
    assert fit.used.mean() > 0.97

"""Which stars of several exposures are the same ones."""

import numpy as np

from drivers.global_solution.same_stars import number_stars


def test_the_same_stars_have_the_same_number():
    random = np.random.default_rng(1)
    stars = random.uniform(0, 100, 80) + 1j * random.uniform(0, 100, 80)
    orders = [random.permutation(80)[:50] for _ in range(4)]
    exposures = [stars[order] + 0.01 * random.normal(size=50) for order in orders]
    numbers = number_stars(exposures, 0.2)
    number_of = {}
    for order, found in zip(orders, numbers, strict=True):
        for star, number in zip(order, found, strict=True):
            assert number_of.setdefault(star, number) == number
    assert len(set(number_of.values())) == len(number_of)


def test_no_star_is_twice_in_one_exposure():
    numbers = number_stars([np.array([0j]), np.array([0.3 + 0j, 0.1 + 0j])], 0.5)
    assert [list(found) for found in numbers] == [[0], [1, 0]]


def test_an_exposure_without_stars_is_no_matter():
    numbers = number_stars([np.zeros(0, complex), np.array([1j]), np.zeros(0, complex)], 0.5)
    assert [len(found) for found in numbers] == [0, 1, 0]

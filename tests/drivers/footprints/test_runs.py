import numpy as np

from drivers.footprints.runs import areas, bounds, find_footprints, label_image


def test_runs_and_back():
    inside = np.random.default_rng(1).random((60, 80)) > 0.7
    footprints = find_footprints(inside)
    labels = label_image(footprints, inside.shape)
    assert ((labels > 0) == inside).all()
    assert areas(footprints).tolist() == np.bincount(labels.ravel())[1:].tolist()
    for index in range(len(footprints)):
        rows, columns = np.nonzero(labels == index + 1)
        box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert bounds(footprints, index) == box


def test_pixels_that_touch_at_a_corner_are_together():
    inside = np.zeros((10, 10), bool)
    inside[[2, 3, 7], [2, 3, 9]] = True
    assert areas(find_footprints(inside)).tolist() == [2, 1]


def test_nothing_has_no_footprints():
    footprints = find_footprints(np.zeros((10, 10), bool))
    assert len(footprints) == 0
    assert not label_image(footprints, (10, 10)).any()
    assert areas(footprints).tolist() == []


def test_all_of_an_image_can_be_one():
    footprints = find_footprints(np.ones((10, 12), bool))
    assert areas(footprints).tolist() == [120]

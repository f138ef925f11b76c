import numpy as np

from drivers.footprints.prominence import find_peaks


def image_of(*rows):
    return np.array(rows, np.float32)


def test_a_peaks_saddle_is_the_highest_way_to_a_higher_one():
    image = image_of(
        [9, 2, 5, 1, 7],
        [1, 1, 1, 1, 1],
        [1, 3, 3, 3, 3],
    )
    peaks = find_peaks(image, image > 0)
    heights = image[peaks.rows, peaks.columns].tolist()
    assert dict(zip(heights, peaks.saddles.tolist(), strict=True)) == {
        9: -np.inf,
        7: 1,
        5: 2,
        3: 1,
    }


def test_the_mask_parts_what_it_does_not_hold():
    image = image_of([9, 2, 5])
    peaks = find_peaks(image, image > 2)
    assert peaks.saddles.tolist() == [-np.inf, -np.inf]


def test_a_flat_top_is_one_peak():
    image = image_of([1, 4, 4, 4, 1], [1, 4, 4, 4, 1], [1, 1, 1, 1, 2])
    peaks = find_peaks(image, image > 0)
    assert image[peaks.rows, peaks.columns].tolist().count(4) == 1


def test_prominences_are_those_of_flooding_by_hand():
    rng = np.random.default_rng(4)
    for _ in range(20):
        image = rng.permutation(48).reshape(6, 8).astype(np.float32)
        inside = rng.random((6, 8)) > 0.2
        peaks = find_peaks(image, inside)
        for row, column, saddle in zip(peaks.rows, peaks.columns, peaks.saddles, strict=True):
            assert saddle == flooded(image, inside, row, column)


def flooded(image, inside, row, column):
    """The highest level whose area around a peak holds a higher pixel."""
    from scipy import ndimage

    for level in sorted(image[inside], reverse=True):
        labels, _ = ndimage.label(inside & (image >= level), np.ones((3, 3)))
        around = (labels == labels[row, column]) & (labels > 0)
        if labels[row, column] and image[around].max() > image[row, column]:
            return level
    return -np.inf


def test_nothing_has_no_peaks():
    assert not len(find_peaks(np.zeros((5, 5), np.float32), np.zeros((5, 5), bool)).rows)

import numpy as np
import pytest

from drivers.footprints.merging import merge_detections, parent_ids, source_ids
from drivers.footprints.runs import find_footprints
from drivers.found import PEAK, Detections
from sky_patches import patch_area

SHAPE = (100, 100)


def band(*places, seeing=4.0):
    inside = np.zeros(SHAPE, bool)
    peaks = np.zeros(len(places), PEAK)
    for peak, (x, y, snr) in zip(peaks, places, strict=True):
        inside[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = True
        peak["x"], peak["y"], peak["snr"] = x, y, snr
    return Detections({}, find_footprints(inside), peaks, None, 64, seeing)


def test_the_same_source_in_two_bands_is_one_where_the_first_says():
    footprints, peaks = merge_detections(
        [band((20.2, 30.1, 8)), band((21.0, 30.4, 20))], SHAPE, 0.7
    )
    assert len(footprints) == 1
    assert len(peaks) == 1
    assert peaks["x"][0] == np.float32(20.2)
    assert peaks["snr"][0] == 20
    assert peaks["bands"][0] == 0b11


def test_footprints_that_touch_are_merged_and_peaks_apart_stay():
    footprints, peaks = merge_detections(
        [band((20, 30, 8)), band((26, 30, 9)), band((70, 70, 9))], SHAPE, 0.7
    )
    assert len(footprints) == 2
    assert peaks["footprint"].tolist() == [0, 0, 1]
    assert peaks["bands"].tolist() == [0b1, 0b10, 0b100]


def test_each_footprint_has_a_peak():
    rng = np.random.default_rng(1)
    bands = [
        band(*((*rng.uniform(10, 90, 2), 5.0 + n) for n in range(12)), seeing=3 + one)
        for one in range(3)
    ]
    footprints, peaks = merge_detections(bands, SHAPE, 0.7)
    assert set(peaks["footprint"]) == set(range(len(footprints)))


def test_no_bands_or_empty_ones_give_nothing():
    for bands in ([], [band()], [band(), band()]):
        footprints, peaks = merge_detections(bands, SHAPE, 0.7)
        assert len(footprints) == len(peaks) == 0


def test_ids_are_unique_and_hold_where_they_are_from():
    numbers = np.arange(1, 200)
    ids = [
        source_ids(patch_area(tract=tract, patch=patch), numbers)
        for tract in (0, 18937)
        for patch in ((0, 0), (0, 1), (1, 0), (8, 8))
    ]
    ids.append(parent_ids(patch_area(tract=0, patch=(0, 0)), numbers))
    assert len(np.unique(np.concatenate(ids))) == 9 * 199
    assert min(one.min() for one in ids) > 0


@pytest.mark.parametrize("place", [{"tract": 1 << 22}, {"tract": -1}, {"patch": (128, 0)}])
def test_what_does_not_fit_its_bits_is_refused(place):
    with pytest.raises(ValueError, match="can't be numbered"):
        source_ids(patch_area(**place), np.arange(3))

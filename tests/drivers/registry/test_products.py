"""Tables of a rerun's products say what its records say."""

import pytest

from drivers.registry import open_registry, overlapping_calexps, replace_products
from drivers.sky_polygon import polygon


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "registry.sqlite", create=True) as connection:
        yield connection


def calexp(visit, ra=0.0, **row):
    corners = [[(ra - 0.1) % 360, -0.1], [ra + 0.1, -0.1], [ra + 0.1, 0.1], [(ra - 0.1) % 360, 0.1]]
    return {
        "visit": visit, "ccd": 0, "filter": "g", "instrument": "SimCam", "image": "i", "width": 3,
        "height": 4, "catalog": "c", "wcs": {"CRPIX1": 1.0}, "notes": ["one", "two"],
        "corners": corners, **row,
    }  # fmt: skip


def test_rows_are_replaced_and_those_of_other_reruns_stay(registry):
    replace_products(registry, "a", "calexp", [calexp(1), calexp(2)])
    replace_products(registry, "b", "calexp", [calexp(1)])
    assert (
        replace_products(registry, "a", "calexp", [calexp(3, seeing=0.6), calexp(3, seeing=0.7)])
        == 1
    )
    rows = registry.execute("SELECT rerun, visit, seeing, wcs, notes FROM calexp ORDER BY rerun")
    assert rows.fetchall() == [
        ("a", 3, 0.7, '{"CRPIX1": 1.0}', "one; two"),
        ("b", 1, None, '{"CRPIX1": 1.0}', "one; two"),
    ]
    assert registry.execute("SELECT count(*) FROM calexp_sky").fetchone() == (2,)


def test_what_a_table_has_no_column_for_is_left_out(registry):
    replace_products(registry, "a", "visit", [{"visit": 5, "filter": "g", "seeing": 0.7}])
    coadd = {"tract": 9, "patch": (1, 2), "filter": "g", "n_ccds": 3, "whatever": object()}
    replace_products(registry, "a", "coadd", [coadd])
    assert registry.execute("SELECT visit, seeing FROM visit").fetchall() == [(5, 0.7)]
    rows = registry.execute("SELECT tract, patch, n_ccds, notes FROM coadd")
    assert rows.fetchall() == [(9, "1,2", 3, "")]


def test_a_row_without_what_a_table_needs_changes_nothing(registry):
    replace_products(registry, "a", "calexp", [calexp(1)])
    bad = calexp(2)
    del bad["image"]
    with pytest.raises(Exception, match=r"calexp\.image"):
        replace_products(registry, "a", "calexp", [bad])
    assert registry.execute("SELECT visit FROM calexp").fetchall() == [(1,)]


def test_a_child_hides_the_images_of_its_parent(registry):
    replace_products(registry, "parent", "calexp", [calexp(1), calexp(2), calexp(3, ra=50)])
    replace_products(registry, "child", "calexp", [calexp(2), calexp(1, ra=50)])
    region = polygon([[359.95, 0.05, 0.0], [0.0, 0.0, 0.05]])
    # The child has moved visit 1 away: that of the parent does not come back.
    assert overlapping_calexps(registry, ["child", "parent"], region) == {(2, 0): "child"}
    assert overlapping_calexps(registry, ["parent"], region) == {
        (1, 0): "parent",
        (2, 0): "parent",
    }

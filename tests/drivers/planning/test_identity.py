"""What decides whether a result is made again."""

from drivers.configuration import SurveyConfig
from drivers.graph.node import Done
from drivers.planning.identity import data_id, key_of
from drivers.planning.stages import COADD, MEASURE, SINGLE_FRAME

PLACE = (9, 1, 2, "g")
CONFIG = SurveyConfig()
A, B = Done(None, {"visit": 1, "inputs": "a"}), Done(None, {"visit": 2, "inputs": "b"})


def changed(**sections):
    return SurveyConfig.model_validate({**CONFIG.as_dict(), **sections})


def test_a_data_id_is_what_users_write():
    assert data_id(COADD, PLACE) == {"tract": 9, "patch": "1,2", "filter": "g"}
    assert data_id(SINGLE_FRAME, (1228, 40)) == {"visit": 1228, "ccd": 40}
    key = key_of(COADD, PLACE, CONFIG, None, [A])
    assert {**key, "inputs": ""} == {**data_id(COADD, PLACE), "inputs": ""}


def test_the_order_of_what_it_is_made_of_does_not_matter_but_each_of_them_does():
    both = key_of(COADD, PLACE, CONFIG, None, [A, B])
    assert key_of(COADD, PLACE, CONFIG, None, [B, A]) == both
    assert key_of(COADD, PLACE, CONFIG, None, [A]) != both
    other = Done(None, {"visit": 2, "inputs": "c"})
    assert key_of(COADD, PLACE, CONFIG, None, [A, other]) != both


def test_a_change_of_configuration_changes_exactly_what_is_made_with_it():
    other = changed(coadd={"clip_sigma": 4.5})
    assert other != CONFIG
    assert key_of(COADD, PLACE, other, None, [A]) != key_of(COADD, PLACE, CONFIG, None, [A])
    assert key_of(MEASURE, PLACE, other, None, [A]) == key_of(MEASURE, PLACE, CONFIG, None, [A])


def test_facts_such_as_calibration_frames_count():
    keys = [key_of(SINGLE_FRAME, (1, 2), CONFIG, facts, []) for facts in ("bias-1", "bias-2", None)]
    assert len({key["inputs"] for key in keys}) == 3

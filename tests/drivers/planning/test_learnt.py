"""What records teach of the tasks which are still to be run."""

from types import SimpleNamespace

from drivers.planning.estimates import Estimate
from drivers.planning.learnt import FEWEST, LEAST, SPARE, corrections, mean_task

MIB = 2**20


def record(stage, seconds, peak):
    return SimpleNamespace(
        stage=stage, started=100.0, finished=100.0 + seconds, peak_memory=peak * 1024
    )


def test_a_stage_with_few_records_teaches_nothing():
    few = [record("coadd", 1.0, 100)] * (FEWEST - 1)
    assert mean_task(few) == {}
    assert mean_task([*few, record("coadd", 4.0, 300)]) == {"coadd": Estimate(2.0, 300 * MIB)}


def test_costs_keep_their_proportions_and_memory_gets_what_was_needed_with_some_to_spare():
    learnt = {"coadd": Estimate(10.0, 200 * MIB)}
    (correction,) = corrections(learnt, {"coadd": Estimate(5.0, 900 * MIB)}).values()
    assert correction.of(Estimate(5.0, 900 * MIB)) == Estimate(10.0, SPARE * 200 * MIB)
    assert correction.of(Estimate(1.0, 900 * MIB)).seconds == 2.0
    assert correction.of(Estimate(1.0, 250 * MIB)).memory == 250 * MIB


def test_of_short_tasks_the_peak_was_not_seen():
    learnt = {"exposure": Estimate(0.01, 0.0)}
    (correction,) = corrections(learnt, {"exposure": Estimate(0.1, 300e6)}).values()
    assert correction.of(Estimate(0.1, 300e6)).memory == LEAST


def test_stages_of_which_nothing_is_expected_are_left_out():
    assert corrections({"warp": Estimate(1.0, 1.0)}, {"coadd": Estimate(1.0, 1.0)}) == {}

"""From a command line to a plan: what is selected, what it is made of, and what is run."""

from contextlib import ExitStack

import pytest

from drivers import coadd, survey
from drivers.command import CommandError
from drivers.planning.stages import Mode
from drivers.survey_options import parser
from drivers.survey_plan import make_plan, rerun_of

SMALL = ("-c", "skyMap.patch_inner=300", "skyMap.patch_border=20")


@pytest.fixture
def plan(repo):
    """Return what makes the plan of a command line."""
    with ExitStack() as open_files:

        def make(*words, command=survey.COMMAND):
            options = parser(command).parse_args([str(repo), "--rerun", "a", *SMALL, *words])
            return make_plan(command, options, open_files)

        yield make


def test_everything_is_selected_if_nothing_is_said(plan):
    made = plan()
    assert list(made.inputs.frames) == [(100, 0), (100, 1), (101, 0), (101, 1)]
    assert len(made.inputs.patches) > 4
    assert set(made.modes.values()) == {Mode.RUN}


def test_a_patch_takes_the_frames_which_may_overlap_it_and_no_other_patch(plan):
    every = plan().inputs.patches
    (tract, column, row), _ = next(
        (patch, bands) for patch, bands in every.items() if set(bands) == {"g", "r"}
    )
    words = (f"tract={tract}", f"patch={column},{row}")
    made = plan("--id", *words).inputs
    assert list(made.patches) == [(tract, column, row)]
    assert made.patches == {(tract, column, row): every[tract, column, row]}
    # Whole visits: their solutions are those of all CCDs.
    assert set(made.visits) == {100, 101}
    only = plan("--id", *words, "filter=r").inputs
    assert list(only.patches[tract, column, row]) == ["r"]
    assert list(only.frames) == [(101, 0), (101, 1)]
    several = plan("--id", f"tract={tract}", f"patch={column},{row}^99,99", "--id", "tract=0")
    assert list(several.inputs.patches) == [(tract, column, row)]


def test_what_it_is_made_of_is_selected_apart(plan):
    made = plan("--id", "filter=g^r", "--selectId", "visit=100", "--selectId", "ccd=1")
    assert list(made.inputs.frames) == [(100, 0), (100, 1), (101, 1)]


def test_a_patch_that_nothing_covers_is_told_with_the_tracts_which_there_are(plan):
    with pytest.raises(CommandError, match=r"--id selects no patch\. There are tract=\d+"):
        plan("--id", "tract=1", "patch=0,0")
    with pytest.raises(CommandError, match="patch"):
        plan("--id", "patch=one")


def test_conditions_leave_out_ccds_by_what_was_measured_on_them(plan):
    accepts = plan("--where", "seeing < 0.9 and n_sources > 50", "--where", "ccd != 3").accepts
    good = {"seeing": 0.8, "n_sources": 60, "ccd": 2, "wcs": {"CRPIX1": 1.0}}
    assert accepts(good)
    assert not accepts({**good, "seeing": 1.0})
    assert not accepts({**good, "seeing": None})
    assert not accepts({**good, "n_sources": 50})
    assert not accepts({**good, "ccd": 3})
    assert plan().accepts({})
    with pytest.raises(CommandError, match="night"):
        plan("--where", "night = 3")


def test_stages_are_run_used_or_done_without(plan):
    assert plan("--stages", "mosaic..coadd").modes["singleFrame"] is Mode.RECORDED
    assert plan("--stages", "mosaic..coadd").modes["detect"] is Mode.ABSENT
    assert plan("--skip", "skyCorrection").modes["skyCorrection"] is Mode.ABSENT
    modes = plan(command=coadd.COMMAND).modes
    assert [name for name, mode in modes.items() if mode is Mode.RUN] == ["coadd", "detect"]
    with pytest.raises(CommandError, match="the stages are singleFrame"):
        plan("--skip", "warps")


def test_the_repositorys_own_configuration_comes_first(plan, repo):
    (repo / "survey.toml").write_text("[coadd]\nclip_sigma = 7.0\n[skyMap]\npatch_inner = 500\n")
    made = plan().config
    assert (made.coadd.clip_sigma, made.sky_map.patch_inner) == (7.0, 300)
    more = repo / "more.toml"
    more.write_text("[coadd]\nclip_sigma = 8.0\n")
    assert plan("--config-file", str(more)).config.coadd.clip_sigma == 8.0


def test_a_parent_must_exist_and_be_another(plan):
    repository = plan().rerun.repository
    with pytest.raises(CommandError, match="there is no rerun none"):
        rerun_of(repository, "none:a")
    folder = repository.rerun("a")
    folder.make_folder()
    folder.run_db.touch()
    with pytest.raises(CommandError, match="its own parent"):
        rerun_of(repository, "a:a")
    assert [rerun.name for rerun in rerun_of(repository, "a:b")] == ["b", "a"]

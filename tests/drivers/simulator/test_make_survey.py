"""What makeSurvey reads from its command line, and what it refuses."""

import pytest

from drivers.make_survey import MOST_VISITS, main, parse


def test_the_words_describe_the_survey():
    words = "--visits 7 --ccds 3 --bands r,z --seed 5 --size 64x48 --per-file visit --centre 10,-20"
    root, survey = parse(["repo", *words.split(), "--without", "cosmics,fringe"])
    assert root == "repo"
    assert (survey.visits, survey.ccds, survey.bands, survey.seed) == (7, 3, ("r", "z"), 5)
    assert (survey.width, survey.height, survey.per_visit) == (64, 48, True)
    assert (survey.ra, survey.dec) == (10.0, -20.0)
    assert not survey.has("cosmics")
    assert survey.has("bias")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--size 64", "WIDTHxHEIGHT"),
        ("--size 63x64", "even width"),
        ("--size 16x64", "at least 32"),
        ("--bands g,u", "'g,u' is not a list"),
        ("--bands g,g", "different ones"),
        ("--visits 0", "positive whole number"),
        ("--without rain", "there is no effect rain"),
        ("--centre 400,0", "not on the sky"),
        ("--centre 4", "not RA,DEC"),
        ("--dither 2", "from 0 to 1"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["repo", *words.split()])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_more_visits_than_there_are_numbers_for_are_refused(tmp_path, capsys):
    assert main([str(tmp_path / "repo"), "--visits", str(MOST_VISITS + 1)]) == 2
    assert "too many" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_a_repository_that_cannot_be_made_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none" / "repo")]) == 2
    assert "does not exist" in capsys.readouterr().err

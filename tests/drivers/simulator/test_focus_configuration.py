"""What the observatory tells of its focus detectors is what the drivers read."""

from drivers.configuration import SurveyConfig, load_configuration
from drivers.simulator.focal_plane import detectors, focus_configuration
from drivers.simulator.photometry import configuration
from drivers.simulator.survey import Survey


def test_the_drivers_can_read_the_heights(tmp_path):
    survey = Survey(ccds=28)
    path = tmp_path / "survey.toml"
    path.write_text(configuration() + focus_configuration(survey))
    heights = load_configuration(SurveyConfig, [path]).exposure.focus_heights
    assert heights == {str(d.ccd): d.height for d in detectors(survey) if d.role == "focus"}
    assert sorted(heights.values()) == [-0.15, 0.15]


def test_without_focus_detectors_there_is_nothing_to_tell():
    assert focus_configuration(Survey(ccds=6)) == ""

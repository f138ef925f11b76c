"""Configurations come from defaults, files and words, and errors name the field and its origin."""

import pickle

import pytest

from drivers.configuration import (
    ConfigurationError,
    SingleFrameConfig,
    SurveyConfig,
    load_configuration,
)


def test_words_override_files_and_files_override_defaults(tmp_path):
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("[singleFrame.psf]\norder = 0\nmost_stars = 7\n[singleFrame.sky]\ncell = 64\n")
    second.write_text("[singleFrame.psf]\norder = 1\n")
    words = ["singleFrame.sky.cell=256", "singleFrame.photometry.apertures=3,6"]
    config = load_configuration(SurveyConfig, [first, second], words).single_frame
    assert (config.psf.order, config.psf.most_stars, config.sky.cell) == (1, 7, 256)
    assert config.photometry.apertures == (3.0, 6.0)
    assert config.detection == SingleFrameConfig().detection


def test_values_of_all_kinds_can_be_given_as_words():
    words = [
        "cosmic_rays.find=false",
        "astrometry.parity=header",
        "photometry.colour_terms.g=[0,1]",
    ]
    config = load_configuration(SingleFrameConfig, words=words)
    assert not config.cosmic_rays.find
    assert config.astrometry.parity == "header"
    assert config.photometry.colour_terms == {"g": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("singleFrame.psf.order=7", "singleFrame.psf.order: Input should be less than or equal to"),
        ("singleFrame.psf.ordr=1", "there is no such field; there are signal_to_noise, most_stars"),
        ("coad.x=1", "coad: there is no such field; there are "),
        ("singleFrame.sky.cell=wide", "singleFrame.sky.cell: Input should be a valid integer"),
        ("singleFrame.photometry.apertures=3,-1", "singleFrame.photometry.apertures.1: Input"),
        ("singleFrame=3", "singleFrame: Input should be a valid dictionary"),
        ("singleFrame", "is not NAME=VALUE"),
        ("a..b=1", "is not NAME=VALUE"),
    ],
)
def test_an_error_names_the_field_and_the_word(word, message):
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(SurveyConfig, words=[word])
    assert message in str(caught.value)
    assert word in str(caught.value)


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[singleFrame.psf]\norder = 9\n")
    with pytest.raises(ConfigurationError, match=r"singleFrame\.psf\.order: .*mine\.toml"):
        load_configuration(SurveyConfig, [path])
    path.write_text("[singleFrame\n")
    with pytest.raises(ConfigurationError, match=r"mine\.toml is not TOML"):
        load_configuration(SurveyConfig, [path])
    with pytest.raises(ConfigurationError, match=r"none\.toml can't be read: No such file"):
        load_configuration(SurveyConfig, [tmp_path / "none.toml"])


def test_the_digest_differs_when_a_value_does_and_only_then():
    default = SingleFrameConfig()
    same = load_configuration(SingleFrameConfig, words=[f"psf.order={default.psf.order}"])
    other = load_configuration(SingleFrameConfig, words=["psf.order=0"])
    assert same.digest() == default.digest() != other.digest()
    assert pickle.loads(pickle.dumps(other)) == other


def test_a_configuration_can_not_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        SingleFrameConfig().psf.order = 1


def test_every_field_has_a_description():
    def fields(section, prefix=""):
        for name, field in section.model_fields.items():
            yield prefix + name, field
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation, f"{prefix}{name}.")

    assert [name for name, field in fields(SurveyConfig) if not field.description] == []

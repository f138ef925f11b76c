"""What can be configured: a section of validated values for each stage of the survey.

A stage's section is in the module of the stage's name. Values come from the sections' defaults,
then from TOML files (``--config-file FILE``), then from the command line
(``-c coadd.clip_sigma=3``).
"""

from drivers.configuration.calibs import CalibsConfig
from drivers.configuration.coadd import (
    CoaddConfig,
    DetectConfig,
    ForcedCcdConfig,
    ForcedConfig,
    MeasureConfig,
    MergeDetectionsConfig,
    MergeMeasurementsConfig,
    WarpConfig,
)
from drivers.configuration.errors import ConfigurationError
from drivers.configuration.exposure import ExposureConfig
from drivers.configuration.loading import load_configuration
from drivers.configuration.mosaic import MosaicConfig
from drivers.configuration.section import Section
from drivers.configuration.single_frame import SingleFrameConfig
from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.configuration.survey import SurveyConfig

__all__ = [
    "CalibsConfig",
    "CoaddConfig",
    "ConfigurationError",
    "DetectConfig",
    "ExposureConfig",
    "ForcedCcdConfig",
    "ForcedConfig",
    "MeasureConfig",
    "MergeDetectionsConfig",
    "MergeMeasurementsConfig",
    "MosaicConfig",
    "Section",
    "SingleFrameConfig",
    "SkyCorrectionConfig",
    "SurveyConfig",
    "WarpConfig",
    "load_configuration",
]

"""The configuration of the whole survey: a section for each stage, named like the stage."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

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
from drivers.configuration.exposure import ExposureConfig
from drivers.configuration.mosaic import MosaicConfig
from drivers.configuration.reference import ReferenceConfig
from drivers.configuration.section import Section
from drivers.configuration.selection import SelectionConfig
from drivers.configuration.single_frame import SingleFrameConfig
from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.configuration.sky_map import SkyMapConfig


class SurveyConfig(Section):
    """All sections. On the command line and in files they have the names of the stages."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    sky_map: SkyMapConfig = SkyMapConfig()
    """How the sky is divided into tracts, and these into patches."""
    reference: ReferenceConfig = ReferenceConfig()
    """What of the reference catalogue stands for which filter."""
    selection: SelectionConfig = SelectionConfig()
    """Which detectors are used."""
    calibs: CalibsConfig = CalibsConfig()
    """Making calibration frames."""
    single_frame: SingleFrameConfig = SingleFrameConfig()
    """From a raw frame to a calibrated image."""
    exposure: ExposureConfig = ExposureConfig()
    """Solving the astrometry and photometry of visits."""
    mosaic: MosaicConfig = MosaicConfig()
    """Solving the astrometry and photometry of all exposures of a tract together."""
    sky_correction: SkyCorrectionConfig = SkyCorrectionConfig()
    """One sky for all CCDs of a visit."""
    warp: WarpConfig = WarpConfig()
    """Resampling visits to patches."""
    coadd: CoaddConfig = CoaddConfig()
    """Adding up the visits of a patch."""
    detect: DetectConfig = DetectConfig()
    """Finding sources on coadds."""
    merge_detections: MergeDetectionsConfig = MergeDetectionsConfig()
    """Merging what was found in several bands."""
    measure: MeasureConfig = MeasureConfig()
    """Measuring sources on coadds."""
    merge_measurements: MergeMeasurementsConfig = MergeMeasurementsConfig()
    """Choosing each source's reference band."""
    forced: ForcedConfig = ForcedConfig()
    """Measuring on coadds where the reference band says."""
    forced_ccd: ForcedCcdConfig = ForcedCcdConfig()
    """Measuring on single frames where the reference band says."""

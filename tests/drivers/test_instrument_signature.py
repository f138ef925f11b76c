"""Overscan, bias, gain and assembly, on arrays of which the answer is known."""

import numpy as np
import pytest

from drivers.frame_error import FrameError
from drivers.instrument_signature import overscan_bias, remove_signature
from drivers.instruments.readout import Amplifier, Section


def amplifiers():
    """Two amplifiers of 6 columns with 4 of overscan before them; the second gets gain 3."""
    return tuple(
        Amplifier(
            data=Section(10 * n + 4, 10 * n + 10, 0, 40),
            overscan=Section(10 * n, 10 * n + 4, 0, 40),
            target=Section(6 * n, 6 * n + 6, 0, 40),
            gain=2.0 + n,
        )
        for n in (0, 1)
    )


def raw_frame(bias=(100.0, 300.0), electrons=(60.0, 90.0)):
    raw = np.zeros((40, 20))
    for n, amplifier in enumerate(amplifiers()):
        raw[amplifier.overscan.slices] = bias[n]
        raw[amplifier.data.slices] = bias[n] + electrons[n] / amplifier.gain
    return raw


def test_each_amplifier_loses_its_own_bias_and_gets_its_own_gain():
    result = remove_signature(raw_frame(), amplifiers(), saturation=1e9, overscan_order=1)
    assert result.image.shape == (40, 12)
    np.testing.assert_allclose(result.image[:, :6], 60, rtol=1e-5)
    np.testing.assert_allclose(result.image[:, 6:], 90, rtol=1e-5)
    np.testing.assert_allclose(result.variance, result.image, rtol=1e-5)  # without read noise
    assert not result.saturated.any()


def test_a_bias_that_drifts_along_the_columns_is_followed():
    drift = np.linspace(0, 30, 40)[:, np.newaxis]
    raw = raw_frame() + drift
    flat = remove_signature(raw, amplifiers(), saturation=1e9, overscan_order=1)
    np.testing.assert_allclose(flat.image[:, :6], 60, atol=1e-3)
    level = remove_signature(raw, amplifiers(), saturation=1e9, overscan_order=0)
    assert np.ptp(level.image[:, 0]) == pytest.approx(60, rel=1e-3)


def test_the_read_noise_is_measured_and_enters_the_variance():
    random = np.random.default_rng(5)
    raw = np.full((4000, 20), 100.0) + random.normal(0, 5, (4000, 20))
    tall = [
        Amplifier(
            data=Section(4, 20, 0, 4000),
            overscan=Section(0, 4, 0, 4000),
            target=Section(0, 16, 0, 4000),
            gain=2.0,
        )
    ]
    result = remove_signature(raw, tall, saturation=1e9, overscan_order=1)
    # Half of the pixels are below the bias, and have the read noise only.
    assert float(result.variance.min()) == pytest.approx(10**2, rel=0.06)


def test_a_star_that_bleeds_into_the_overscan_does_not_shift_the_bias():
    overscan = np.full((200, 4), 100.0) + np.random.default_rng(1).normal(0, 3, (200, 4))
    clean, _ = overscan_bias(overscan, 1)
    overscan[50:58] += 5000
    bled, noise = overscan_bias(overscan, 1)
    np.testing.assert_allclose(bled, clean, atol=0.5)
    assert noise == pytest.approx(3, rel=0.15)


def test_saturation_is_judged_on_raw_counts():
    raw = raw_frame()
    raw[3, 7] = 50_000
    result = remove_signature(raw, amplifiers(), saturation=49_999, overscan_order=0)
    assert np.argwhere(result.saturated).tolist() == [[3, 3]]


def test_a_frame_too_small_for_its_amplifiers_is_refused():
    with pytest.raises(FrameError, match=r"has no amplifier at columns 14\.\.20"):
        remove_signature(raw_frame()[:, :18], amplifiers(), saturation=1e9, overscan_order=0)


def test_an_overscan_without_numbers_is_refused():
    with pytest.raises(FrameError, match="overscan"):
        overscan_bias(np.full((10, 4), np.nan), 1)

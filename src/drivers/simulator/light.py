"""The light that reaches a detector: sky, stars, galaxies, asteroids and satellites."""

from __future__ import annotations

import numpy as np

from drivers.simulator.drawing import draw
from drivers.simulator.focal_plane import Detector, field_radius, to_detector, to_focal_plane
from drivers.simulator.optics import pixel_area, pixel_to_sky, sky_to_pixel, smooth_image
from drivers.simulator.photometry import FRINGE, ZERO_POINT
from drivers.simulator.point_spread import WEIGHTS, covariances
from drivers.simulator.sky_places import basis, moved_vectors, shifted
from drivers.simulator.sources import EPOCH, asteroids, galaxies, stars
from drivers.simulator.survey import PIXEL_SCALE, Floats, Image, Survey, Table
from drivers.simulator.visits import EXPTIME, Visit

DISC = (
    np.array([0.01637, 0.13743, 0.45741, 0.38880]),
    np.array([0.15865, 0.39060, 0.76728, 1.36711]),
)
BULGE = (
    np.array([0.01674, 0.06848, 0.18216, 0.33620, 0.39642]),
    np.array([0.02276, 0.07700, 0.22400, 0.63465, 2.00586]),
)
"""Fluxes and standard deviations [half-light radii] of the Gaussians that stand for an exponential
and a (truncated) de Vaucouleurs profile."""

_MARGIN = 200
"""Pixels around a detector whose sources may reach into it."""

_TRAIL_STEPS = 5
_SATELLITES = 0.5
"""Mean number of satellites which cross the field in an exposure."""


def light(survey: Survey, visit: Visit, detector: Detector) -> Image:
    """Return what falls on a detector in an exposure [electrons], shape (rows, columns)."""
    image = sky(survey, visit, detector)
    _add_stars(survey, visit, detector, image)
    _add_galaxies(survey, visit, detector, image)
    _add_asteroids(survey, visit, detector, image)
    _add_satellites(survey, visit, detector, image)
    return image


def sky(survey: Survey, visit: Visit, detector: Detector) -> Image:
    """Return the light of the sky alone [electrons], shape (rows, columns)."""
    radius = field_radius(survey)
    along_u, along_v, outwards = visit.gradient

    def level(u: Floats, v: Floats) -> Floats:
        shape = 1 + along_u * u + along_v * v + outwards * (u**2 + v**2)
        area = pixel_area(survey, u * radius, v * radius) if survey.has("pixel_area") else 1.0
        return np.asarray(visit.sky * shape * area)

    return np.asarray(smooth_image(survey, detector, level), dtype=np.float32)


def fringes(survey: Survey, visit: Visit, detector: Detector) -> Image | float:
    """Return the fringes of the sky [electrons]: the same pattern in all exposures of a filter."""
    strength = FRINGE[visit.filter] * survey.has("fringe")
    if not strength:
        return 0.0
    random = survey.random("fringe", detector.ccd)
    y = np.linspace(-1, 1, survey.height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, survey.width, dtype=np.float32) * np.float32(
        survey.width / survey.height
    )
    turns = random.uniform(6, 12) * survey.height / 1024
    a, b, c, d, e = random.normal(0, 1, 5)
    phase = turns * (a * x + b * y + 0.5 * (c * x * x + d * x * y + e * y * y))
    return np.asarray(visit.sky * strength * np.sin(2 * np.pi * phase), dtype=np.float32)


def zero_point(survey: Survey, visit: Visit, detector: Detector) -> float:
    """Return the AB magnitude of one electron of light falling on the detector's middle."""
    middle = np.array([detector.true_x]), np.array([detector.true_y])
    return float(_zero_points(survey, visit, *middle)[0])


def _zero_points(survey: Survey, visit: Visit, u: Floats, v: Floats) -> Floats:
    radius = field_radius(survey)
    clouds = visit.extinction + visit.clouds[0] * u / radius + visit.clouds[1] * v / radius
    return np.asarray(ZERO_POINT[visit.filter] + 2.5 * np.log10(EXPTIME) - clouds)


def near(
    survey: Survey, visit: Visit, detector: Detector, table: Table, *, margin: float = _MARGIN
) -> tuple[Table, Floats, Floats]:
    """Return the sources in or around a detector, and their pixels at the time of the visit."""
    if not len(table):
        return table, np.zeros(0), np.zeros(0)
    middle = np.array([(survey.width - 1) / 2]), np.array([(survey.height - 1) / 2])
    ra, dec = pixel_to_sky(survey, visit, detector, *middle)
    reach = (np.hypot(survey.width, survey.height) / 2 + margin + 50) * PIXEL_SCALE / 3600
    table = table[np.abs(table["dec"] - dec) < reach]  # the first step is there for speed
    cosine = basis(table["ra"], table["dec"])[0] @ basis(ra, dec)[0][0]
    table = table[cosine > np.cos(np.radians(reach))]
    names = table.dtype.names or ()
    years = visit.epoch - EPOCH
    motion = [
        table[name] if name in names else np.zeros(len(table)) for name in ("pm_ra", "pm_dec")
    ]
    vectors = moved_vectors(table["ra"], table["dec"], motion[0], motion[1], years)
    x, y = sky_to_pixel(survey, visit, detector, vectors)
    inside = (x > -margin) & (x < survey.width + margin)
    inside &= (y > -margin) & (y < survey.height + margin)
    return table[inside], x[inside], y[inside]


def fluxes(
    survey: Survey, visit: Visit, detector: Detector, table: Table, x: Floats, y: Floats
) -> Floats:
    """Return the light of sources at these pixels in the exposure [electrons]."""
    zero_points = _zero_points(survey, visit, *to_focal_plane(survey, detector, x, y))
    return np.asarray(10 ** (0.4 * (zero_points - table[f"mag_{visit.filter}"])))


def _add_stars(survey: Survey, visit: Visit, detector: Detector, image: Image) -> None:
    table, x, y = near(survey, visit, detector, stars(survey))
    flux = fluxes(survey, visit, detector, table, x, y)
    draw(image, x, y, flux[:, None] * WEIGHTS, covariances(survey, visit, detector, x, y))


def _add_galaxies(survey: Survey, visit: Visit, detector: Detector, image: Image) -> None:
    table, x, y = near(survey, visit, detector, galaxies(survey))
    for is_bulge, (weights, sigmas) in ((0, DISC), (1, BULGE)):
        some = table["bulge"] == is_bulge
        kind, i, j = table[some], x[some], y[some]
        flux = fluxes(survey, visit, detector, kind, i, j)
        n_parts = len(weights) * len(WEIGHTS)
        # Each component of the galaxy with each of the point spread function.
        parts = (flux[:, None, None] * weights[:, None] * WEIGHTS).reshape(len(kind), n_parts)
        own = _shapes(visit, detector, kind)[:, None, None] * (sigmas**2)[:, None, None]
        moments = own + covariances(survey, visit, detector, i, j)[:, None]
        draw(image, i, j, parts, moments.reshape(len(kind), n_parts, 3))


def _shapes(visit: Visit, detector: Detector, table: Table) -> Floats:
    """Return the second moments [px**2] of galaxies with the half-light radius as sigma."""
    # The position angle, from north to east, as a direction on the detector.
    place = np.radians(table["angle"].astype(float))
    turn = np.radians(visit.angle)
    u = -np.cos(turn) * np.sin(place) + np.sin(turn) * np.cos(place)
    v = np.sin(turn) * np.sin(place) + np.cos(turn) * np.cos(place)
    way = np.arctan2(v, u) - np.radians(detector.true_angle)
    major = (table["half_light"].astype(float) / PIXEL_SCALE) ** 2
    minor = major * table["axis_ratio"].astype(float) ** 2
    cosine, sine = np.cos(way), np.sin(way)
    return np.stack(
        (
            major * cosine**2 + minor * sine**2,
            (major - minor) * cosine * sine,
            major * sine**2 + minor * cosine**2,
        ),
        axis=-1,
    )


def asteroids_at(survey: Survey, mjd: float) -> Table:
    """Return the asteroids with their places at a time."""
    table = asteroids(survey).copy()
    days = mjd - table["mjd"]
    place = shifted(table["ra"], table["dec"], table["rate_ra"] * days, table["rate_dec"] * days)
    table["ra"], table["dec"] = place
    return table


def _add_asteroids(survey: Survey, visit: Visit, detector: Detector, image: Image) -> None:
    for step in range(_TRAIL_STEPS):
        mjd = visit.mjd + EXPTIME / 86400 * (step + 0.5) / _TRAIL_STEPS
        table, x, y = near(survey, visit, detector, asteroids_at(survey, mjd))
        flux = fluxes(survey, visit, detector, table, x, y) / _TRAIL_STEPS
        draw(image, x, y, flux[:, None] * WEIGHTS, covariances(survey, visit, detector, x, y))


def satellites(survey: Survey, visit: Visit) -> Floats:
    """Return the satellites of an exposure.

    Returns
    -------
    array, shape (n, 4)
        A straight line in the focal plane: its distance from the middle [px], the direction of its
        normal [rad], and the light on a pixel's length of it [electrons]; and how wide it is [px].
    """
    if not survey.has("satellites"):
        return np.zeros((0, 4))
    random = survey.random("satellites", visit.number)
    count, radius = random.poisson(_SATELLITES), field_radius(survey)
    return np.stack(
        [
            random.uniform(-0.9, 0.9, count) * radius,
            random.uniform(0, 2 * np.pi, count),
            10 ** random.uniform(2.5, 4.0, count),
            random.uniform(0.5, 2.0, count),
        ],
        axis=-1,
    )


def _add_satellites(survey: Survey, visit: Visit, detector: Detector, image: Image) -> None:
    for distance, way, brightness, width in satellites(survey, visit):
        normal = np.array([np.cos(way), np.sin(way)])
        along = np.array([-normal[1], normal[0]])
        ends = normal * distance + along * np.array([[0.0], [100.0]])
        x, y = to_detector(survey, detector, ends[:, 0], ends[:, 1])
        across = np.array([y[0] - y[1], x[1] - x[0]]) / 100.0
        columns, rows = np.arange(survey.width) - x[0], np.arange(survey.height) - y[0]
        away = (columns * across[0] + (rows * across[1])[:, None]).astype(np.float32)
        sigma = np.hypot(visit.seeing / PIXEL_SCALE / 2.3548, width)
        hit = np.abs(away) < 6 * sigma
        peak = brightness / (np.sqrt(2 * np.pi) * sigma)
        image[hit] += peak * np.exp(-0.5 * (away[hit] / sigma) ** 2)

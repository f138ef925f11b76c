"""Frames of stars drawn for tests, with everything known about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Drawing:
    """A CCD with stars: where they are, how bright, and what they look like."""

    shape: tuple = (400, 300)
    fwhm: float = 3.5
    beta: float = 3.0
    sky: float = 300.0
    read_noise: float = 5.0
    seed: int = 1
    ellipticity: float = 0.0
    variation: float = 0.0
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    y: np.ndarray = field(default_factory=lambda: np.zeros(0))
    flux: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def scatter(self, count, *, faint=3e3, bright=3e5, slope=0.6, margin=0):
        """Add stars at random places, numbers falling with their flux."""
        random = np.random.default_rng([self.seed, 1])
        rows, columns = self.shape
        self.x = np.append(self.x, random.uniform(margin, columns - 1 - margin, count))
        self.y = np.append(self.y, random.uniform(margin, rows - 1 - margin, count))
        part = random.uniform(0, 1, count)
        low, high = faint**-slope, bright**-slope
        self.flux = np.append(self.flux, (low + part * (high - low)) ** (-1 / slope))
        return self

    def width_at(self, x):
        return self.fwhm * (1 + self.variation * (x / self.shape[1] - 0.5))

    def clean(self):
        """Return the stars without sky and noise."""
        image = np.zeros(self.shape)
        for x, y, flux in zip(self.x, self.y, self.flux, strict=True):
            self._add(image, x, y, flux)
        return image

    def _add(self, image, x, y, flux, half=60):
        alpha = self.width_at(x) / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        x0, y0 = max(0, round(x) - half), max(0, round(y) - half)
        part = image[y0 : max(0, round(y) + half + 1), x0 : max(0, round(x) + half + 1)]
        if not part.size:
            return
        dx = np.arange(x0, x0 + part.shape[1]) - x
        dy = (np.arange(y0, y0 + part.shape[0]) - y)[:, None]
        stretch = np.sqrt((1 + self.ellipticity) / (1 - self.ellipticity))
        squared = (dx**2 / stretch + dy**2 * stretch) / alpha**2
        part += flux * (self.beta - 1) / (np.pi * alpha**2) * (1 + squared) ** -self.beta

    def observed(self):
        """Return image with sky and noise, and the variance of its pixels."""
        random = np.random.default_rng([self.seed, 2])
        expected = self.clean() + self.sky
        image = random.poisson(expected) + random.normal(0, self.read_noise, self.shape)
        variance = np.maximum(image, 0) + self.read_noise**2
        return image.astype(np.float32), variance.astype(np.float32)

-- Version 2 of the registry. See docs/drivers.md.

CREATE TABLE raw (
    id INTEGER PRIMARY KEY,
    visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL, instrument TEXT NOT NULL,
    exptime REAL, mjd REAL, object TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    path TEXT NOT NULL, hdu INTEGER NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL,
    role TEXT NOT NULL DEFAULT 'science', obstype TEXT NOT NULL DEFAULT 'science',
    source TEXT NOT NULL DEFAULT '', wcs TEXT NOT NULL DEFAULT '',
    ra0 REAL, dec0 REAL, ra1 REAL, dec1 REAL, ra2 REAL, dec2 REAL, ra3 REAL, dec3 REAL,
    UNIQUE (visit, ccd), UNIQUE (path, hdu)
);
CREATE INDEX raw_source ON raw (source) WHERE source != '';

CREATE TABLE calexp (
    id INTEGER PRIMARY KEY,
    rerun TEXT NOT NULL, visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL,
    instrument TEXT NOT NULL, role TEXT NOT NULL DEFAULT 'science', exptime REAL, mjd REAL,
    image TEXT NOT NULL, catalog TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, unit TEXT, wcs TEXT NOT NULL, wcs_source TEXT,
    ra0 REAL, dec0 REAL, ra1 REAL, dec1 REAL, ra2 REAL, dec2 REAL, ra3 REAL, dec3 REAL,
    pixel_scale REAL, sky_level REAL, sky_noise REAL,
    seeing REAL, seeing_pixels REAL, seeing_scatter REAL, n_seeing_stars INTEGER,
    ellipticity REAL, n_psf_stars INTEGER, psf_residual REAL, psf_enclosed REAL,
    n_sources INTEGER, n_cosmic_ray_pixels INTEGER,
    n_matched INTEGER, astrometric_scatter REAL, astrometric_order INTEGER,
    zero_point REAL, zero_point_err REAL, zero_point_scatter REAL, n_photometric INTEGER,
    good_fraction REAL, calibs TEXT NOT NULL DEFAULT '{}', notes TEXT NOT NULL,
    UNIQUE (rerun, visit, ccd)
);

-- Boxes of unit vectors: there is no seam at RA 0, and the poles are places like any other.
CREATE VIRTUAL TABLE raw_sky USING rtree (id, x0, x1, y0, y1, z0, z1);
CREATE VIRTUAL TABLE calexp_sky USING rtree (id, x0, x1, y0, y1, z0, z1);
CREATE TRIGGER raw_gone AFTER DELETE ON raw BEGIN DELETE FROM raw_sky WHERE id = OLD.id; END;
CREATE TRIGGER calexp_gone AFTER DELETE ON calexp
BEGIN DELETE FROM calexp_sky WHERE id = OLD.id; END;

CREATE TABLE visit (
    rerun TEXT NOT NULL, visit INTEGER NOT NULL, filter TEXT NOT NULL,
    n_ccds INTEGER, n_matched INTEGER, astrometry TEXT, photometry TEXT,
    n_astrometric INTEGER, astrometric_order INTEGER, scatter_ra REAL, scatter_dec REAL,
    n_photometric INTEGER, zero_point REAL, zero_point_spread REAL, zero_point_scatter REAL,
    seeing REAL, seeing_range REAL, defocus REAL,
    sky_level REAL, sky_left REAL, sky_frame_scale REAL, used_fraction REAL,
    notes TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (rerun, visit)
);

CREATE TABLE coadd (
    rerun TEXT NOT NULL, tract INTEGER NOT NULL, patch TEXT NOT NULL, filter TEXT NOT NULL,
    image TEXT, catalog TEXT, n_visits INTEGER, n_ccds INTEGER, covered REAL, clipped REAL,
    fwhm REAL, noise REAL, sky REAL, n_footprints INTEGER, n_peaks INTEGER, n_sources INTEGER,
    n_skipped INTEGER, largest_skipped INTEGER, max_area INTEGER, notes TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (rerun, tract, patch, filter)
);

CREATE TABLE calib (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, instrument TEXT NOT NULL, ccd INTEGER NOT NULL,
    filter TEXT NOT NULL DEFAULT '', valid_from REAL NOT NULL, valid_to REAL NOT NULL,
    path TEXT NOT NULL, hdu INTEGER NOT NULL, made_from TEXT NOT NULL DEFAULT '[]',
    rerun TEXT NOT NULL DEFAULT '',
    UNIQUE (kind, instrument, ccd, filter, valid_from)
);

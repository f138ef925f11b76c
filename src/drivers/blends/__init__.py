"""Measures the sources of a coadd, blend by blend."""

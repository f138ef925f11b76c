"""One astrometric and photometric solution for all exposures which overlap in a tract."""

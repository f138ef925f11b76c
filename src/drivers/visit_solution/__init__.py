"""What the stars of all CCDs of a visit say together: where they are, and what fluxes mean."""

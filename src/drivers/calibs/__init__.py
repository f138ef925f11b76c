"""Makes calibration frames from stacks of exposures: pure functions on arrays."""

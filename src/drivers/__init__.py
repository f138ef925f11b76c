"""Survey drivers: which function runs on which data ID. The parallelism is in `mpipool`."""

"""Elastic groups of MPI ranks for survey processing."""

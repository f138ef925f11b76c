"""Adds the warps of a patch up."""

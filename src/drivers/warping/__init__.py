"""Puts images on other pixels."""

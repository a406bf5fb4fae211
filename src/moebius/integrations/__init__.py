"""Moebius inside other programs."""

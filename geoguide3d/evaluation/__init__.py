"""Metrics and named protocols."""

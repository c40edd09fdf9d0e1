"""Scenes and views, and the readers that make them."""

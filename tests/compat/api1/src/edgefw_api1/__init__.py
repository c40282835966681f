"""Frozen: a plugin package written for plugin API 1."""

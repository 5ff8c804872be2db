"""Prefect flows: thin, around the same functions that the command line calls."""

"""Prefect flows: thin, around the same functions that the command line calls."""

from flows.server import prepare_environment

prepare_environment()  # here, as Prefect and Dask read these variables when they are imported

"""The default configuration, shipped with the package as ``default.yaml``."""

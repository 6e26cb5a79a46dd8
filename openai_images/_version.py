"""The version, in one place: the package, its distribution and the User-Agent header all read this name."""

__version__ = "0.2.0"

"""The version of this package, where every module can read it and none is needed to."""

__version__ = "0.1.0"

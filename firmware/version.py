"""The firmware's version, as `info` and the details page tell it."""

VERSION = "0.1.0"

"""How an update ends before it is installed; what runs goes on running. str() says why."""


class Refused(Exception):
    """Of no use, and not to be tried again as it is."""


class Running(Refused):
    """There is nothing to do: that version runs already."""

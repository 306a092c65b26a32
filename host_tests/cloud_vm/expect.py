"""The two lines a test needs that has to run without pytest."""


def raises(kind, call, *args, **kw):
    """Calls, expects an exception of `kind`, returns its words."""
    try:
        call(*args, **kw)
    except kind as fault:
        return str(fault)
    raise AssertionError("did not raise " + kind.__name__)


class Part:
    """Something with the attributes given."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)

"""Another firmware through safe mode: from a request's body into the slot that does not run."""


class Body:
    """The bytes of a request's body, in order. `client` has receive(), which safe_page.py holds
    to a deadline; `first` came with the head; `size`: how many there are in all."""

    def __init__(self, client, first, size):
        self._left = size
        self._client = client
        self._first = first
        self._at = 0

    def into(self, view, wanted):
        """Up to wanted = (offset, size) bytes into `view`; what lies before is passed over.
        Returns how many. ValueError where the body has ended."""
        offset, size = wanted
        if self._at > offset:
            raise ValueError("the bundle has to be sent from its start")
        while self._at < offset:
            self._read(view[: min(len(view), offset - self._at)])
        return self._read(view[: min(size, len(view))])

    def pass_over(self):
        """Reads what is left: a browser reads no answer before it has sent everything."""
        while self._left:
            piece = self._first or self._client.receive()
            self._first = b""
            self._left = max(0, self._left - len(piece)) if piece else 0

    def _read(self, view):
        piece = self._first
        if self._left and not piece:
            piece = self._client.receive()
        count = min(len(view), self._left, len(piece))
        if not count:
            self._left = 0
            raise ValueError("the bundle is not whole")
        view[:count] = piece[:count]
        self._first = piece[count:]
        self._left -= count
        self._at += count
        return count


def install(body, variant, log, feed):
    """Returns when the other slot holds the bundle of `body` and is on trial. Refused (of
    cloud.install) in words, ValueError where the body ends too early, OSError; ImportError where
    this firmware has lost what it takes."""
    from version import VERSION  # noqa: PLC0415

    from cloud import install as installing  # noqa: PLC0415

    def judged(found, size):
        log.info("update", "%s, %d bytes" % (found, size))

    view = memoryview(bytearray(2048))
    work = installing.install(view, installing.about(variant), VERSION, True, judged)
    try:
        wanted = next(work)
        while True:
            feed()
            wanted = work.send(body.into(view, wanted) if wanted else None)
    except StopIteration:
        pass

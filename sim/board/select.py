# The image's `select`. Waits are taken in short pieces, so that the main thread keeps an eye on
# the air; objects are polled through their ioctl, as on the board.
import _clock
import uselect
from _threads import is_main
from micropython import const
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT

__all__ = ("POLLERR", "POLLHUP", "POLLIN", "POLLOUT")
_PIECE_MS = const(10)


class _Poll:
    def __init__(self):
        self._poll = uselect.poll()
        self._first = None

    def register(self, *args):
        self._poll.register(*args)

    def unregister(self, obj):
        self._poll.unregister(obj)

    def modify(self, obj, eventmask):
        self._poll.modify(obj, eventmask)

    def ipoll(self, timeout=-1, flags=0):
        # Returns an iterator over callee-owned tuples: this object itself, or the exhausted
        # native one, which ends without raising.
        if timeout is None:
            timeout = -1
        poll = self._poll
        if timeout == 0 or not is_main():
            self._first = next(poll.ipoll(timeout, flags), None)
            if timeout == 0:
                _clock.touch()
            return self if self._first else poll
        _clock.touch()
        _clock.hand_over()
        while True:
            wait = _PIECE_MS if timeout < 0 or timeout > _PIECE_MS else timeout
            self._first = next(poll.ipoll(wait, flags), None)
            _clock.resumed()
            if timeout > 0:
                timeout -= wait
            if self._first:
                return self
            if timeout == 0:
                return poll

    def __iter__(self):
        return self

    def __next__(self):
        first = self._first
        if first is None:
            raise StopIteration
        # The native tuple is reused for the next: hand out this one before fetching it.
        self._first = _AGAIN
        if first is _AGAIN:
            first = next(self._poll, None)
            if first is None:
                self._first = None
                raise StopIteration
        return first

    def poll(self, timeout=-1):
        return [(obj, event) for obj, event in self.ipoll(timeout)]


_AGAIN = (None, 0)


def poll():
    return _Poll()


def select(rlist, wlist, xlist, timeout=None):
    p = _Poll()
    masks = {}
    for objs, mask in ((rlist, POLLIN), (wlist, POLLOUT), (xlist, POLLERR | POLLHUP)):
        for obj in objs:
            masks[id(obj)] = (obj, masks.get(id(obj), (obj, 0))[1] | mask)
    for obj, mask in masks.values():
        p.register(obj, mask)
    ready = p.poll(-1 if timeout is None else int(timeout * 1000))
    return (
        [o for o, e in ready if e & POLLIN],
        [o for o, e in ready if e & POLLOUT],
        [o for o, e in ready if e & ~(POLLIN | POLLOUT)],
    )

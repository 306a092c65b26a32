# The image's `select`. Objects are polled through their ioctl, as on the board; waits are taken in
# short pieces, so that the main thread keeps an eye on the air.
import _clock
import uselect as _uselect
from _threads import _is_main
from micropython import const as _const
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT

__all__ = ("POLLERR", "POLLHUP", "POLLIN", "POLLOUT")
_PIECE_MS = _const(10)
_STREAM_POLL = _const(3)
_POLL_US = _const(10)  # asking one object


class _Poll:
    # Objects with a Python-level ioctl (our sockets) are asked directly: the VM's own poll always
    # waits a millisecond for them. It serves for the waits, and for native streams (TLS).

    def __init__(self):
        self._poll = _uselect.poll()
        self._ours = []
        self._masks = []
        self._natives = 0
        self._next = 0

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        self._poll.register(obj, eventmask)
        if obj in self._ours:
            self._masks[self._ours.index(obj)] = eventmask
        elif hasattr(obj, "ioctl"):
            self._ours.append(obj)
            self._masks.append(eventmask)
        else:
            self._natives += 1

    def unregister(self, obj):
        self._poll.unregister(obj)
        if obj in self._ours:
            at = self._ours.index(obj)
            self._ours.pop(at)
            self._masks.pop(at)
        else:
            self._natives -= 1

    def modify(self, obj, eventmask):
        self._poll.modify(obj, eventmask)
        if obj in self._ours:
            self._masks[self._ours.index(obj)] = eventmask

    def ipoll(self, _timeout=-1, _flags=0):
        if _timeout is None:
            _timeout = -1
        _clock.touch()
        self._next = 0
        if _timeout == 0 and not self._natives:
            _clock.leave(0)
            return self
        if _timeout == 0 or not _is_main():
            return self._poll.ipoll(_timeout, _flags)
        _clock.hand_over()
        while True:
            wait = _PIECE_MS if _timeout < 0 or _timeout > _PIECE_MS else _timeout
            first = next(self._poll.ipoll(wait, _flags), None)
            _clock.resumed()
            if _timeout > 0:
                _timeout -= wait
            if first or _timeout == 0:
                # Whatever was ready still is: asked again, it is listed from the start.
                return self._poll.ipoll(0, _flags) if self._natives else self

    def __iter__(self):
        return self

    def __next__(self):
        _clock.enter()
        asked = 0
        while self._next < len(self._ours):
            at = self._next
            self._next = at + 1
            asked += _POLL_US
            obj = self._ours[at]
            event = obj.ioctl(_STREAM_POLL, self._masks[at])
            if event:
                _clock.leave(asked)
                return (obj, event)
        _clock.leave(asked)
        raise StopIteration

    def poll(self, _timeout=-1):
        return [(obj, event) for obj, event in self.ipoll(_timeout)]


def poll():
    return _Poll()


def select(_rlist, _wlist, _xlist, _timeout=None):
    p = _Poll()
    masks = {}
    for objs, mask in ((_rlist, POLLIN), (_wlist, POLLOUT), (_xlist, POLLERR | POLLHUP)):
        for obj in objs:
            masks[id(obj)] = (obj, masks.get(id(obj), (obj, 0))[1] | mask)
    for obj, mask in masks.values():
        p.register(obj, mask)
    ready = p.poll(-1 if _timeout is None else int(_timeout * 1000))
    return (
        [o for o, e in ready if e & POLLIN],
        [o for o, e in ready if e & POLLOUT],
        [o for o, e in ready if e & ~(POLLIN | POLLOUT)],
    )

# The image's `_thread`, and which thread is running: asked at every look at the clock, so the
# answer must not allocate, as get_ident() does where addresses are no small ints. A thread
# started here runs with a `locals()` of its own, which is free to look at.
import _thread
from _thread import LockType, allocate_lock, exit, get_ident

__all__ = ("LockType", "allocate_lock", "exit", "get_ident")

_ENTER = compile("_function(*_args, **_kwargs)", "thread", "exec")
_stack = 0


def _is_main():
    return "_function" not in locals()


def _enter(function, args, kwargs):
    exec(_ENTER, globals(), {"_function": function, "_args": args, "_kwargs": kwargs})


def start_new_thread(function, args, kwargs=None):
    if not isinstance(args, tuple):
        raise TypeError("expecting tuple")
    return _thread.start_new_thread(_enter, (function, args, kwargs or {}))


def stack_size(*size):
    # Frames are larger here than on the board: four bytes for each of its.
    global _stack
    was = _stack
    _stack = size[0] if size else 0
    _thread.stack_size(4 * _stack)
    return was

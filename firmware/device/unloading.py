"""Room for code that is needed for a while, and letting go of it: it is garbage then."""

import gc
import sys


def unload(*paths):
    """`paths` as "cloud.capture" or "microdot"; what is not loaded is passed over."""
    for path in paths:
        package, _, name = path.rpartition(".")
        if sys.modules.pop(path, None) and package and hasattr(sys.modules[package], name):
            delattr(sys.modules[package], name)


def room(size):
    """To be called before `size` bytes of code are loaded. MemoryError: there is no room for it.

    An import that finds no memory half-way leaves what it had loaded, until the next one: the
    interpreter's stack still has pointers to it, and its collector believes all it sees.
    """
    gc.collect()  # or the code would fill the last large gaps
    if not is_free(size):
        raise MemoryError


def is_free(size):
    """Whether the heap has so many bytes free, garbage not counted. CPython always has."""
    return not hasattr(gc, "mem_free") or gc.mem_free() >= size


def forget(owner, *names):
    """What only the start needs, of a module or a class that stays."""
    for name in names:
        setattr(owner, name, None)  # what is deleted from a class, its table still holds

"""The key of those whose updates this device takes. Loaded for a moment."""

import os

from micropython import const

PATH = "/update.key"
BYTES = const(384)  # the modulus of RSA with 3072 bits


def fault():
    """Why no bundle can be checked with it, in words; None if it is there."""
    try:
        if os.stat(PATH)[6] == BYTES:
            return None
        return "the update key of this device is damaged"
    except OSError:
        return "this device has no key to check updates with: flash.py --update-key"

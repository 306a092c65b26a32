"""Which of the two slots runs: /a and /b each hold a whole firmware, /slot says which.

/slot is one line: the CRC-32 of the rest, then one of

    {"run": "b"}                                      settled
    {"run": "b", "back": "a", "boots": 1}             on trial, for the first time
    {"run": "a", "failed": "0.2.0", "why": "..."}     taken back, and nobody has been told yet

A slot's `manifest` names its files; it is written last and removed first, so a slot that has one
is whole. This file lies in the root too, where boot.py needs it before there is a slot: what it
keeps on flash is a contract between versions.
"""

import json
import os
import sys
from binascii import crc32

from micropython import const

_TRIAL_BOOTS = const(3)
root = ""  # tests put it elsewhere


def start():
    """For boot.py: puts the slot that is to run on the path, a trial that has failed is over.
    Returns what /slot says if there is something to judge or to tell, else None."""
    state = read()
    if state is None:
        state = {"run": newest()}
    elif "back" in state:
        state = _count(state)
    if version(state["run"]) is None:
        state = {"run": newest()}
    slot = root + "/" + state["run"]
    sys.path[:] = [slot, ".frozen", slot + "/lib", "/lib"]
    return state if len(state) > 1 else None


def running():
    """The slot's letter; it is what start() put on the path."""
    return sys.path[0][-1]


def other(slot):
    return "b" if slot == "a" else "a"


def try_out(slot):
    """The last step of an update: from the next boot on `slot` runs, on trial."""
    save({"run": slot, "back": other(slot), "boots": 0})


def settle():
    """The running slot stays, and all has been told."""
    save({"run": running()})


def roll_back(state, why):
    """Ends a trial: the slot before it runs from the next boot on. Returns what /slot then says,
    or would say if it could be written."""
    after = {"run": state["back"], "failed": version(state["run"]), "why": why}
    try:
        save(after)
    except OSError:  # flash is full: every boot comes to this conclusion again
        pass
    return after


def _count(state):
    if state["boots"] >= _TRIAL_BOOTS:
        return roll_back(state, "it started %d times and was not confirmed" % state["boots"])
    state["boots"] += 1
    try:
        save(state)
    except OSError:  # what can't be counted is not tried
        return {"run": state["back"]}
    return state


# --- the file


def read():
    """What /slot says, or None where there is none or it is damaged."""
    try:
        with open(root + "/slot", "rb") as file:
            line = file.read()
        state = json.loads(line[9:].decode())
        sound = line[:8] == b"%08x" % crc32(line[9:]) and state["run"] in ("a", "b")
        if "back" in state:
            sound = sound and state["back"] in ("a", "b") and type(state["boots"]) is int
        return state if sound else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def save(state):
    body = json.dumps(state).encode()
    name = root + "/slot"
    with open(name + ".new", "wb") as file:
        file.write(b"%08x " % crc32(body) + body)
    os.rename(name + ".new", name)


# --- what is in a slot


def newest():
    """The slot with the newest whole firmware: where /slot is of no use."""
    best = "a"
    found = None
    for slot in ("a", "b"):
        number = version(slot)
        if number and _whole(slot) and (found is None or ordered(number) > ordered(found)):
            best, found = slot, number
    return best


def version(slot):
    """The version in a slot, e.g. "0.1.0"; None if the slot is not whole."""
    try:
        for line in lines(slot):
            if line[0] == "version":
                ordered(line[1])  # ValueError: that is none
                return line[1]
    except (OSError, ValueError, IndexError):
        pass
    return None


def ordered(number):
    """ "0.10.0" as what can be compared."""
    return [int(part) for part in number.split(".")]


def lines(slot, name="/manifest"):
    """The words of each line of a slot's manifest; see tools/bundle.py for the format."""
    with open(root + "/" + slot + name) as file:
        for line in file:
            words = line.split()
            if words:
                yield words


def _whole(slot):
    try:
        for line in lines(slot):
            if line[0] == "file" and os.stat(root + "/" + slot + "/" + line[3])[6] != int(line[2]):
                return False
    except (OSError, ValueError, IndexError):  # damaged: boot.py must get over it
        return False
    return True

"""Which slot runs, whatever is left of the files that say so: sentences for every interpreter."""

import os
import sys

from device import slots

DAMAGED = (
    b"",
    b"\x00" * 40,
    b"\xff\xfe\xfd version\n",
    b"version\n",
    b"version 0.x\n",
    b"version 0.9.0\nfile\n",
    b"version 0.9.0\nfile abc many there.mpy\n",
    b"version 0.9.0\nfile abc 5\n",
    b"version 0.9.0\nfile abc 5 there.mpy\n",  # it has 4
    b"version 0.9.0\nfile abc 4 gone.mpy\n",
)


def lay_out(slot, manifest):
    if slot not in os.listdir("."):
        os.mkdir(slot)
    with open(slot + "/manifest", "wb") as file:
        file.write(manifest)
    with open(slot + "/there.mpy", "wb") as file:
        file.write(b"code")


def started():
    """What start() returns, and the slot it chose."""
    before = sys.path[:]
    slots.root = "."
    try:
        news = slots.start()
        return news, slots.running()
    finally:
        sys.path[:] = before
        slots.root = ""


def saved(state):
    slots.root = "."
    slots.save(state)
    slots.root = ""


def test_a_damaged_manifest_leaves_the_other_slot_to_run():
    for damaged in DAMAGED:
        for good, bad in (("a", "b"), ("b", "a")):
            lay_out(good, b"version 0.1.0\n")
            lay_out(bad, damaged)
            assert started() == (None, good), (damaged, good)


def test_a_slot_that_is_to_run_and_has_no_version_does_not():
    lay_out("a", b"version 0.1.0\n")
    for damaged in DAMAGED[:5]:
        lay_out("b", damaged)
        saved({"run": "b"})
        assert started() == (None, "a"), damaged


def test_without_a_word_of_which_the_newest_whole_one_runs():
    lay_out("a", b"version 0.9.0\n")
    lay_out("b", b"version 0.10.0\n")
    assert started() == (None, "b")
    with open("slot", "wb") as file:
        file.write(b'00000000 {"run": "a"}')
    assert started() == (None, "b")


def test_a_trial_ends_after_three_starts_that_nobody_confirmed():
    lay_out("a", b"version 0.1.0\n")
    lay_out("b", b"version 0.2.0\n")
    saved({"run": "b", "back": "a", "boots": 0})
    for boots in (1, 2, 3):
        assert started() == ({"run": "b", "back": "a", "boots": boots}, "b")
    news, slot = started()
    assert slot == "a"
    assert news["failed"] == "0.2.0"
    assert "3 times" in news["why"]

"""Runs cloud_vm/same_slots.py, sentence by sentence, on CPython and on the MicroPython VM."""

from cloud_bench import on_every_interpreter, run_same


@on_every_interpreter("same_slots")
def test(name, interpreter, tmp_path):
    run_same("same_slots", name, interpreter, tmp_path)

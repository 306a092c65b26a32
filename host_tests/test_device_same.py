"""Runs cloud_vm/same_device.py, sentence by sentence, on CPython and on the MicroPython VM."""

from cloud_bench import on_every_interpreter, run_same


@on_every_interpreter("same_device")
def test(name, interpreter, tmp_path):
    run_same("same_device", name, interpreter, tmp_path)

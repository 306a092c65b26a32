"""Runs cloud_vm/same_download.py, sentence by sentence, on CPython and on the MicroPython VM."""

from cloud_bench import on_every_interpreter, run_same


@on_every_interpreter("same_download")
def test(name, interpreter, tmp_path):
    run_same("same_download", name, interpreter, tmp_path)

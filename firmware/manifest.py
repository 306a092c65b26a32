# Freezes the firmware into an image of one's own:
#
#     make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/firmware/manifest.py
#
# The portal's pages and texts are files, not modules: they, Microdot (as /lib/microdot.mpy) and
# the board's identity come onto the file system with tools/flash.py as ever. A file there is
# imported before the frozen module of its name, so an update still works.
# ruff: noqa: F821 (what a manifest may call comes from MicroPython's tools/manifestfile.py)
include("$(PORT_DIR)/boards/manifest.py")
for room in ("metering", "connectivity", "cloud", "device", "provisioning"):
    package(room, base_path=".")
for name in ("board.py", "version.py"):
    module(name, base_path=".")

# Freezes the firmware into an image of one's own:
#
#     make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/firmware/manifest.py
#
# The code then stays in the image and out of the heap. What is left, the portal's pages and texts,
# Microdot, main.py (frozen, it would be run in place of the board's own) and the identity, comes
# with tools/flash.py --frozen. An update brings the whole firmware as files, which are imported
# before frozen modules.
# ruff: noqa: F821 (what a manifest may call comes from MicroPython's tools/manifestfile.py)
include("$(PORT_DIR)/boards/manifest.py")
for room in ("metering", "connectivity", "cloud", "device", "provisioning"):
    package(room, base_path=".")
for name in ("board.py", "version.py"):
    module(name, base_path=".")

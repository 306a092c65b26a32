# make sim    the whole device on a simulated board          make test   everything CI checks
# make lint   ruff, types, compile for the board             make bench  accuracy, speed, memory
# make flash PORT=/dev/ttyUSB0     a board, over its port    make clean  forget .venv and build/
# make calibrate PORT=...          gain and phase of a board beside a reference
# make image IMAGE=ESP32_GENERIC.bin   one file for a whole board
# make package                         the firmware for mpremote mip install
#
# The first use of any target makes .venv and fills it; later ones start at once.

PY := .venv/bin/python
READY := .venv/.ready
ARGS ?=

# Hundreds of processes start: what Python compiles is kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup sim test lint bench flash calibrate image package clean
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): pyproject.toml tools/setup.py
	@python3 tools/setup.py
	@touch -c $@

sim: $(READY)
	@$(PY) tools/simulate.py $(ARGS)

test: $(READY)
	@$(PY) tools/check.py $(ARGS)

lint: $(READY)
	@$(PY) tools/lint.py

bench: $(READY)
	@$(PY) tools/bench.py $(ARGS)

flash: $(READY)
	@$(PY) tools/flash.py $(if $(PORT),--port $(PORT)) $(ARGS)

calibrate: $(READY)
	@$(PY) tools/calibrate.py $(if $(PORT),--port $(PORT)) $(ARGS)

image: $(READY)
	@$(PY) tools/image.py $(IMAGE) $(ARGS)

package: $(READY)
	@$(PY) tools/package.py $(ARGS)

clean:
	rm -rf .venv build

"""The board's /main.py: runs the main of the slot that boot.py chose, or its safe mode after three
crashes in a row. It lies in the root, and no update replaces it. The slot's main takes over the
crashes once it has come that far."""

import sys
import time

import machine

try:
    from device.boots import BootRecord

    boots = BootRecord()
    if boots.looping:
        from device import safe_mode

        safe_mode.run(boots)  # never returns
    del boots, BootRecord
    import main

    main.main()
except Exception as fault:
    sys.print_exception(fault)
    try:
        from device.boots import BootRecord

        BootRecord().crashed(fault, 0)
    except Exception as worse:
        sys.print_exception(worse)
    time.sleep(3)  # a moment for Ctrl-C
    machine.reset()

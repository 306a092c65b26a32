"""What leaves this repository for a board: the firmware compiled, its identity, its labels.

Below everything that brings it there: sim/ lays it out on the simulated board, tools/ flashes it
to real ones or makes images of it. So a simulated board runs the very bytes a real one of its
architecture would get, and tools/ needs nothing of the simulator.
"""

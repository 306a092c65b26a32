# A flash chip in RAM for LittleFS: counts erases, and can lose power after so many operations.
# MicroPython.
class PowerCut(Exception):
    pass


class Flash:
    def __init__(self, blocks, size=4096):
        self.blocks = blocks
        self.size = size
        self.data = bytearray(b"\xff" * (blocks * size))
        self.erases = [0] * blocks
        self.left = -1  # operations until the power goes; -1: it stays
        self.gone = False  # files left open die unwritten, even when they are collected

    def survivor(self):
        # The same flash after the power came back.
        after = Flash(self.blocks, self.size)
        after.data[:] = self.data
        self.gone = True
        return after

    def _spend(self):
        if self.left == 0:
            raise PowerCut
        self.left -= 1

    def readblocks(self, block, buffer, offset=0):
        if self.gone:
            return
        at = block * self.size + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        if self.gone:
            return
        at = block * self.size + offset
        if self.left == 0:  # the cut falls into a write: half of it is there
            half = len(buffer) // 2
            self.data[at : at + half] = memoryview(buffer)[:half]
        self._spend()
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return self.size
        if op == 6 and not self.gone:
            self._spend()
            self.erases[arg] += 1
            self.data[arg * self.size : (arg + 1) * self.size] = b"\xff" * self.size
        return 0


class Minutes:
    # A clock for Energy: a minute a step.
    def __init__(self):
        self.ms = 0

    def ticks_ms(self):
        return self.ms

    def ticks_add(self, ticks, delta):
        return ticks + delta

    def ticks_diff(self, end, start):
        return end - start

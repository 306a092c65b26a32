# The flash chip as a file: LittleFS on it, mounted as `/`, as ports/esp32 does. Erasing and
# programming take the time they take on a chip and stop everything else, and the power can fail at
# the n-th of them, in the middle of a block. The chip is Python, where the board has C that nobody
# interrupts: here a lock keeps the second thread out of LittleFS while the first is inside.
from _thread import allocate_lock

import vfs
from _board import HOST, config, emit, power_off
from _clock import is_main, sleep_us
from _opened import File
from micropython import const

_BLOCK = const(4096)
_ERASED = b"\xff" * 256


class Chip:
    def __init__(self, path):
        self._file = HOST.open(path, "r+b")
        self._blocks = self._file.seek(0, 2) // _BLOCK
        self._cut = config.get("cut_at_write", 0)
        self._erase_us = config.get("erase_us", 0)
        self._program_us = config.get("program_us", 0)  # of 256 bytes
        self.erased = 0
        self.changes = 0

    def _change(self, us):
        # Returns whether the power fails in this one.
        self.changes += 1
        if us and is_main():
            sleep_us(us)
        if self._cut and self.changes == self._cut:
            emit(ev="cut", at=self.changes, during="flash")
            return True
        return False

    def readblocks(self, block, buf, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        cut = self._change(self._program_us * (len(buf) + 255) // 256)
        self._file.seek(block * _BLOCK + offset)
        if cut:
            self._file.write(memoryview(buf)[: len(buf) // 2])
            power_off()
        self._file.write(buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return _BLOCK
        if op == 6:
            cut = self._change(self._erase_us)
            self.erased += 1
            self._file.seek(arg * _BLOCK)
            for _ in range(_BLOCK // 512 if cut else _BLOCK // 256):
                self._file.write(_ERASED)
            if cut:
                power_off()
            if config.get("tell_erases"):
                emit(ev="erase", block=arg)
        return 0


_inside = allocate_lock()


def _alone(function, *args):
    with _inside:
        return function(*args)


class _File(File):
    def _do(self, function, *args):
        return _alone(function, *args)

    def write(self, data):
        return _alone(self._file.write, data)


class _FileSystem:
    def __init__(self, chip):
        self._lfs = vfs.VfsLfs2(chip)

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        return _File(_alone(self._lfs.open, path, mode))

    def ilistdir(self, path):
        return iter(_alone(lambda: list(self._lfs.ilistdir(path))))

    def chdir(self, path):
        _alone(self._lfs.chdir, path)

    def getcwd(self):
        return self._lfs.getcwd()

    def stat(self, path):
        return _alone(self._lfs.stat, path)

    def statvfs(self, path):
        return _alone(self._lfs.statvfs, path)

    def rename(self, old, new):
        _alone(self._lfs.rename, old, new)

    def remove(self, path):
        _alone(self._lfs.remove, path)

    def mkdir(self, path):
        _alone(self._lfs.mkdir, path)

    def rmdir(self, path):
        _alone(self._lfs.rmdir, path)


def mount(path):
    import uos  # noqa: PLC0415

    chip = Chip(path)
    uos.umount("/")
    vfs.mount(_FileSystem(chip), "/")
    return chip

# The board's flash: a host folder mounted as `/` (or a chip with LittleFS: _chip.py). Can be full,
# and can lose power at the n-th call that changes it, in the middle of a write if it is one.
import uos
import vfs
from _board import HOST, config, emit, power_off
from _opened import File

_ENOSPC = 28


class _File(File):
    # A file open for writing. Its bytes land at once; LittleFS would keep the old ones until
    # close, so code that survives a cut here survives it there.

    def __init__(self, flash, file):
        super().__init__(file)
        self._flash = flash

    def write(self, data, *args):
        if args:
            data = memoryview(data)[: args[0]] if len(args) == 1 else data[args[0] :][: args[1]]
        size = len(data.encode()) if isinstance(data, str) else len(data)
        if self._flash.change("write"):
            part = size // 2
            self._file.write(data[:part])
            self._file.flush()
            power_off()
        self._flash.grow(size)
        return self._file.write(data)

    def close(self):
        if self._file:
            file, self._file = self._file, None
            if self._flash.change("close"):
                power_off()
            file.close()


class Flash:
    def __init__(self):
        self._root = config["flash"]
        self._size = config.get("flash_size", 2 * 1024 * 1024)
        self._cut = config.get("cut_at_write", 0)
        self._cwd = "/"
        self.changes = 0
        self._used = self._tree(self._root)

    def _tree(self, path):
        used = 0
        for entry in HOST.ilistdir(path):
            inner = path + "/" + entry[0]
            if entry[1] == 0x4000:
                used += 8192 + self._tree(inner)
            else:
                used += HOST.stat(inner)[6]
        return used

    def change(self, what):
        # Counts; True when the power is to fail in this call.
        self.changes += 1
        if self._cut and self.changes == self._cut:
            emit(ev="cut", at=self.changes, during=what)
            return True
        return False

    def grow(self, size):
        if self._used + size > self._size:
            raise OSError(_ENOSPC)
        self._used += size

    def _path(self, path):
        # Where it is on the host. Nothing is above the root.
        if path[:1] != "/":
            path = self._cwd + "/" + path
        parts = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part and part != ".":
                parts.append(part)
        return self._root + "/" + "/".join(parts) if parts else self._root

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def chdir(self, path):
        path = self._path(path)
        if HOST.stat(path)[0] & 0xF000 != 0x4000:
            raise OSError(2)
        self._cwd = path[len(self._root) :] or "/"

    def getcwd(self):
        return self._cwd

    def open(self, path, mode):
        path = self._path(path)
        if not ("w" in mode or "a" in mode or "+" in mode or "x" in mode):
            return HOST.open(path, mode)
        if self.change("open"):
            power_off()
        if "w" in mode:
            self._shrink(path)
        return _File(self, HOST.open(path, mode))

    def _shrink(self, path):
        try:
            self._used -= HOST.stat(path)[6]
        except OSError:
            pass

    def stat(self, path):
        return HOST.stat(self._path(path))

    def ilistdir(self, path):
        path = self._path(path)
        for name, kind, _ in HOST.ilistdir(path):
            yield name, kind, 0, HOST.stat(path + "/" + name)[6] if kind == 0x8000 else 0

    def rename(self, old, new):
        old, new = self._path(old), self._path(new)
        if self.change("rename"):
            power_off()
        self._shrink(new)
        HOST.rename(old, new)

    def remove(self, path):
        path = self._path(path)
        if self.change("remove"):
            power_off()
        self._shrink(path)
        HOST.remove(path)

    def mkdir(self, path):
        if self.change("mkdir"):
            power_off()
        HOST.mkdir(self._path(path))

    def rmdir(self, path):
        if self.change("rmdir"):
            power_off()
        HOST.rmdir(self._path(path))

    def statvfs(self, path):
        blocks = self._size // 4096
        free = max(0, self._size - self._used) // 4096
        return (4096, 4096, blocks, free, free, 0, 0, 0, 0, 255)


def mount():
    if "chip_file" in config:
        import _chip  # noqa: PLC0415 (seldom asked for)

        return _chip.mount(config["chip_file"])
    flash = Flash()
    uos.umount("/")
    vfs.mount(flash, "/")
    return flash

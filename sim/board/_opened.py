# An open file of the board's flash: what is the same in a folder (_flash.py) and on a chip
# (_chip.py).
import io


class File(io.IOBase):
    def __init__(self, file):
        self._file = file

    def _do(self, function, *args):
        return function(*args)

    def read(self, *args):
        return self._do(self._file.read, *args)

    def readinto(self, buf, *args):
        return self._do(self._file.readinto, buf, *args)

    def readline(self, *args):
        return self._do(self._file.readline, *args)

    def readlines(self):
        return self._do(self._file.readlines)

    def seek(self, *args):
        return self._do(self._file.seek, *args)

    def tell(self):
        return self._file.tell()

    def flush(self):
        self._do(self._file.flush)

    def close(self):
        self._do(self._file.close)

    def ioctl(self, request, arg):
        if request == 4:
            self.close()
        elif request == 1:
            self.flush()
        elif request != 11:
            return -22
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

# What extmod/modasyncio.c gives asyncio, on the board's clock: the C code of the VM reads the
# host's clock, whatever `time` says.
from time import ticks_diff, ticks_ms


class TaskQueue:
    # Tasks by the time they are due (`ph_key`); first come, first served.

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, key=None):
        task.data = None
        task.ph_key = ticks_ms() if key is None else key
        tasks = self._tasks
        at = len(tasks)
        while at and ticks_diff(tasks[at - 1].ph_key, task.ph_key) > 0:
            at -= 1
        tasks.insert(at, task)

    def pop(self):
        if not self._tasks:
            raise IndexError("empty heap")
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class Task:
    # state: True running and not awaited, a TaskQueue of those who await it or a callback, None
    # done and not awaited, False done and awaited. data: what to throw in next, the queue or
    # task it waits on, and at last its result as an exception.

    _context = None

    def __init__(self, coro, context=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        if context is not None:
            Task._context = context

    def done(self):
        return not self.state

    def cancel(self):
        if not self.state:
            return False
        context = Task._context
        if self is context["cur_task"]:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        queue = context["_task_queue"]
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            queue.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            queue.remove(task)
            queue.push(task)
        task.data = context["CancelledError"]
        return True

    def __iter__(self):
        if not self.state:
            self.state = False
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if not self.state:
            raise self.data
        caller = Task._context["cur_task"]
        self.state.push(caller)
        caller.data = self

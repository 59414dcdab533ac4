"""Work that dies in the middle of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType


def killed_at_line(module: ModuleType, number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that dies before the module's line of this number is executed; false if it ended."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def trace(frame: object, event: str, argument: object) -> object:
            nonlocal count
            if frame.f_code.co_filename != module.__file__:  # type: ignore[attr-defined]
                return None
            if event == "line":
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

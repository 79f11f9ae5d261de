"""Two-stage stop: the first SIGINT or SIGTERM ends the run after the current load package, the second one at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h\n"


class Stop:
    """A context manager that handles signals, if it is entered in the main thread.

    Python runs signal handlers in the main thread, between two bytecode instructions. So a handler would have to wait
    while DuckDB executes a statement there, which takes seconds, and would not be safe while that thread holds a lock.
    Therefore the handlers do nothing: a thread of its own reads the numbers of the signals from the descriptor that
    Python writes them to at once (`signal.set_wakeup_fd`).

    Args:
        say: shows a line to the user.
        leave: ends the process at once. Only the current load package is lost; the next run repairs the rest.

    Attributes:
        requested: set when the run should end after the current load package.
        number: the first signal, or None.
    """

    def __init__(self, say: Callable[[str], None], leave: Callable[[int], object] = os._exit) -> None:
        self.requested = threading.Event()
        self.number: int | None = None
        self._say = say
        self._leave = leave
        self._before: dict[int, Any] = {}
        self._descriptor_before = -1
        self._ours, self._pythons = socket.socketpair()
        self._thread = threading.Thread(target=self._follow, name="klaviyo-stop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if threading.current_thread() is threading.main_thread():
            self._pythons.setblocking(False)
            self._descriptor_before = signal.set_wakeup_fd(self._pythons.fileno(), warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._descriptor_before)
        self._pythons.close()
        self._thread.join()
        self._ours.close()

    def _follow(self) -> None:
        while received := self._ours.recv(1):
            number = received[0]
            if number not in _SIGNALS:
                continue
            if self.number is not None:
                # Written directly, since another thread may hold the lock of the terminal's view.
                os.write(2, f"{_SHOW_CURSOR if sys.stderr.isatty() else ''}stopped at once\n".encode())
                self._leave(128 + number)
                return
            self.number = number
            self.requested.set()
            name = signal.Signals(number).name
            self._say(f"{name}: stopping after the load package in hand; a second signal stops at once")

"""Child processes that end when the command that started them ends, however that ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def ended_with_parent() -> Callable[[], None]:
    """Return a `preexec_fn` for a child of this process: Linux sends the child SIGTERM when this process has ended.

    Elsewhere it does nothing, and only an orderly end of this process ends the child.
    """
    parent = os.getpid()

    def prepare_child() -> None:
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it ended before the call
                os._exit(1)

    return prepare_child


def handle_end_signals(handler: Callable[..., object]) -> None:
    """Call `handler` on SIGINT, SIGTERM and SIGHUP, the signals that ask a command to end.

    SIGINT is handled even where it was ignored, as a shell does for a background process. SIGHUP stays ignored where it
    was, since that is what `nohup` asks for.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)

"""A limit on the computing time of one attempt: SymPy may simplify or factor a short formula for hours.

The clock counts this process's own computing (ITIMER_PROF), so that a busy machine changes no answer.
Outside the main thread, and where there are no such timers (Windows), nothing is limited.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import sympy
from sympy.core.cache import clear_cache

R = TypeVar("R")

ATTEMPT = 0.5  # four times what the slowest that succeeded in the tests took
"""Seconds for one rewriting, after which the next is tried."""
QUESTION = 2.0
"""Seconds for one question (is g increasing?), after which it is undecided."""
_AGAIN = 0.5
_SOON = 1e-4


class _TimeUp(BaseException):
    """Not an Exception: SymPy catches those on its way."""


_running = 0


def too_long(seconds: float) -> str:
    """The reason that an undecided answer gives."""
    return f"no answer within {seconds:g} s of computing"


def within(seconds: float, work: Callable[[], R], otherwise: R) -> R:
    """What ``work`` returns, or ``otherwise`` where it computes for longer.

    Limits nest: an inner one ends no later than the outer.  A handler and a timer of somebody else are put
    back, the timer less the time that went by.

    >>> def forever() -> int:
    ...     while True:
    ...         pass
    >>> within(0.05, forever, -1), within(0.05, lambda: 7, -1)
    (-1, 7)
    """
    global _running
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        return work()
    armed, collecting = True, gc.isenabled()

    def ring(_number: int, _frame: FrameType | None) -> None:
        if armed:
            # once more, since an exception in a destructor or a callback is lost
            signal.setitimer(signal.ITIMER_PROF, _AGAIN)
            raise _TimeUp

    start = time.process_time()
    outer, interval = signal.setitimer(signal.ITIMER_PROF, 0)
    handler = signal.signal(signal.SIGPROF, ring)
    ours = outer > 0 and _running > 0
    _running += 1
    gc.disable()  # what is raised in a callback of the collector is lost, and reported as a fault
    try:
        signal.setitimer(signal.ITIMER_PROF, min(seconds, outer) if ours else seconds)
        result = work()
        armed = False
    except _TimeUp:
        armed = False
        clear_cache()  # SymPy notes "unknown" in an object while it asks about it
        result = otherwise
    finally:
        armed = False
        _running -= 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler or signal.SIG_DFL)
        if collecting:
            gc.enable()
        if outer > 0:
            left = outer - (time.process_time() - start)
            signal.setitimer(signal.ITIMER_PROF, max(left, _SOON), interval)
    return result


def shown(check: Callable[[], bool]) -> bool:
    """Whether a check holds, within the time of one attempt (False: not shown)."""
    return within(ATTEMPT, check, False)


def vanishes(expr: sympy.Expr) -> bool:
    """Whether an expression is shown to be 0 by simplifying it (False: not shown).

    >>> x = sympy.Symbol("x", real=True)
    >>> vanishes((x + 1) ** 2 - x**2 - 2 * x - 1)
    True
    """
    return expr == 0 or shown(lambda: sympy.simplify(expr) == 0)

"""The clock of every deadline here: monotonic, and counting while the machine is suspended."""

from __future__ import annotations

import time

# Timers of the interpreter stop while the machine is suspended: after a resume a deadline is noticed within this, seconds.
SLEEP_STEP = 1.0

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds of a clock that never jumps.

    On Linux it is ``CLOCK_BOOTTIME``, which counts while the machine is suspended, as the server's clock does. Elsewhere it is
    `time.monotonic`, which counts then on Windows, and does not on macOS.
    """
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)

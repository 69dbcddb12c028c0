"""How far a separation is, told to whoever wants to know, who can end it."""

import time
from collections.abc import Callable
from typing import Literal

from ldm_sep.errors import LdmSepError

Stage = Literal["reading", "separating", "writing"]
# Is told the fraction done, the stage, and the seconds that are left, None where nobody can know yet. Returning False
# cancels.
Callback = Callable[[float, Stage, float | None], bool | None]


class Cancelled(LdmSepError):  # noqa: N818 - it is no error
    """The progress callback returned False."""


class Progress:
    """Tells ``callback``, where there is one, how far a work is; ``tell`` raises `Cancelled` where it says so."""

    def __init__(self, callback: Callback | None) -> None:
        self._callback = callback
        self._started = time.monotonic()

    def tell(self, fraction: float, stage: Stage = "separating") -> None:
        """``fraction`` of the work, from 0 to 1, is done, and ``stage`` is next."""
        if self._callback is None:
            return
        elapsed = time.monotonic() - self._started
        left = elapsed / fraction * (1 - fraction) if fraction > 0 else None
        if self._callback(fraction, stage, left) is False:
            raise Cancelled("separation cancelled; nothing half-written is left")

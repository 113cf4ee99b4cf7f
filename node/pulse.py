"""The line to stage 0: a release says over it that it is well, and learns from it that stage 0 is gone."""

from __future__ import annotations

import os


class OrphanedError(Exception):
    """Stage 0 is gone, and a new one will start a release of its own."""


class Pulse:
    """The write end of stage 0's pipe.

    Stage 0 takes the first beat as "healthy", and ends a release from which it hears nothing for 30 seconds.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)

    def beat(self) -> None:
        """Say that all is well; OrphanedError when nobody listens."""
        try:
            os.write(self._descriptor, b"h")
        except BrokenPipeError:
            raise OrphanedError from None

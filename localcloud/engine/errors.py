"""What can go wrong, as messages for the person at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localcloud.wire import Properties


class EngineError(Exception):
    """An operation cannot go on; the text is shown as it is, without a traceback."""


class ProviderError(EngineError):
    """A provider refused a call; the text is the provider's own."""


class InitError(ProviderError):
    """A resource exists but did not become ready: its id and state are known and must be kept.

    Attributes:
        id: what the provider called it.
        outputs: its state so far.
        reasons: why it is not ready, as the provider told them.
    """

    def __init__(self, id: str, outputs: Properties, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons) or "the resource was made but did not become ready")
        self.id = id
        self.outputs = outputs
        self.reasons = reasons

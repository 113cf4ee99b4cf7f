"""HTTP to the metadata service, which every cloud has at the same address."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

ADDRESS = ("169.254.169.254", 80)
_TIMEOUT = 2.0
_LIMIT = 64 * 1024


class Metadata:
    """The metadata service at ``address``."""

    def __init__(self, address: tuple[str, int] = ADDRESS) -> None:
        self._address = address

    def ask(self, path: str, headers: Mapping[str, str], method: str = "GET") -> tuple[int, str]:
        """Status and text; OSError when there is no answer."""
        connection = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT)
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(_LIMIT).decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP: {type(error).__name__}") from error
        finally:
            connection.close()

    def text(self, path: str, headers: Mapping[str, str]) -> str | None:
        """The text at ``path``, None for 404; OSError for any other answer."""
        status, text = self.ask(path, headers)
        if status == 404:
            return None
        if status != 200:
            raise ConnectionError(f"{path.partition('?')[0]}: status {status}")
        return text.strip()

"""What the stack pushes to a gateway: each is kept on disk, told to the log, and followed at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from node import release
from node.gateway.audit import Audit
from node.gateway.certificate import Certificates
from node.gateway.network import Network
from node.gateway.serving.credentials import CredentialStore
from node.log import say

Answer = tuple[int, str]
"""HTTP status and reason."""


class Offers:
    """Takes what is offered to the gateway of ``network``; every answer is an HTTP status and a reason.

    ``own`` is the release that runs. ``on_taken`` is called after something was taken, ``on_roster`` after each answer
    to a roster.
    """

    def __init__(
        self,
        network: Network,
        own: release.Release,
        credentials: CredentialStore,
        certificates: Certificates,
        audit: Audit,
        on_taken: Callable[[], None],
        on_roster: Callable[[int, str], Awaitable[None]],
    ) -> None:
        self.own = own
        self._network = network
        self._credentials = credentials
        self._certificates = certificates
        self._audit = audit
        self._on_taken = on_taken
        self._on_roster = on_roster
        self._storing = asyncio.Lock()

    def archive(self) -> tuple[bytes, dict[str, str]]:
        """The running release as it was signed, and what is said of it in headers."""
        return self.own.archive, {
            "X-Hybridnet-Number": str(self.own.number),
            "X-Hybridnet-Signature": self.own.signature,
            **self._network.trust.headers,
        }

    async def roster(self, body: bytes, signature: str | None) -> Answer:
        answer = await self._take("roster", lambda: self._network.rosters.offer(body, signature))
        await self._on_roster(*answer)
        return answer

    async def credentials(self, body: bytes, signature: str | None) -> Answer:
        answer = await self._take("credentials", lambda: self._credentials.offer(body, signature))
        if answer[0] == 201 and (kept := self._credentials.kept):
            self._audit.write("credentials", credentials=kept.credentials.number, sha256=kept.sha256)
        return answer

    async def release(self, headers: Mapping[str, str], body: bytes) -> Answer:
        def take() -> Answer:
            answer = release.store(self._network.trust.key, headers, body)
            if answer[0] == 200:
                self.own = release.resigned(self.own, headers)
            return answer

        answer = await self._take("release", take)
        if answer[0] == 201:
            self._audit.write("release", release=release.newest())
        return answer

    async def signing(self, body: bytes, signature: str | None) -> Answer:
        answer = await self._take("signing key", lambda: self._network.trust.offer(body, signature))
        if answer[0] == 201:
            self._audit.write("rotate", what="signing key", public_key=self._network.trust.key)
        return answer

    async def certificate(self, body: bytes, signature: str | None) -> Answer:
        answer = await self._take("certificate", lambda: self._certificates.offer(body, signature))
        if answer[0] == 201 and (kept := self._certificates.kept):
            self._audit.write("rotate", what="certificate", certificate=kept.certificate.number)
        return answer

    async def _take(self, what: str, take: Callable[[], Answer]) -> Answer:
        async with self._storing:
            try:
                status, reason = await asyncio.to_thread(take)
            except OSError as error:
                status, reason = 507, f"it cannot be stored: {error}"
        say(f"offered {what}: {status} {reason}")
        if status == 201:
            self._on_taken()
        return status, reason

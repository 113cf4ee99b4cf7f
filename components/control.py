"""Talks to gateways' control planes: what they run, and pushes to them. Standard library only.

It runs in the process of the dynamic provider, at the network position of whoever runs the program.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

_T = TypeVar("_T")

PUSH_SECONDS = 600.0
"""How long a push waits for a gateway: a first boot that installs packages takes minutes."""
ABSENT_SECONDS = 120.0
"""How long a push waits for a gateway that was told before: a boot takes less."""
SWITCH_SECONDS = 120.0
"""How long a gateway may take to run a release it has: it goes back to the one before after 30 s."""
READ_SECONDS = 10.0
"""How long a refresh waits for a gateway, which may be dead."""
REQUEST_SECONDS = 20.0
PAUSE_SECONDS = 1.0
_PROGRESS_SECONDS = 15.0
_MAX_ANSWER = 1024 * 1024
_NOT_READY = (502, 503, 504)


class PushError(Exception):
    """A gateway cannot be told; the message says which one, why and what to do."""


class RefusedError(PushError):
    """A gateway answers, and does not take it. ``status`` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _NotReadyError(Exception):
    """The gateway may answer later."""


@dataclass(frozen=True)
class Held:
    """What a gateway reports that it holds of one kind: its number, and the digest of its content."""

    number: int
    digest: str


@dataclass(frozen=True)
class Failure:
    """A release that a gateway took and could not run; its number is used up there."""

    number: int
    reason: str


@dataclass(frozen=True)
class Status:
    """A gateway's ``GET /v1/status``, as far as a push needs it.

    ``newest_release`` is the highest number it ever took, failed ones included; 0 for none. ``signing`` is the signing
    key that it believes (base64), ``handovers`` how many that lead there it knows, ``public_key`` the WireGuard key
    that it uses. Earlier releases say nothing of these, of ``credentials`` and ``certificate``, nor does stage 0.
    """

    stage: str
    healthy: bool
    release: Held | None
    roster: Held | None
    newest_release: int
    failed_release: Failure | None
    credentials: Held | None
    certificate: Held | None
    signing: str | None
    handovers: int | None
    public_key: str | None


def parse_status(document: Mapping[str, Any]) -> Status:
    """The status of its JSON; KeyError, TypeError or ValueError when it is not one."""

    def held(key: str, digest: str) -> Held | None:
        found = document.get(key)
        return None if found is None else Held(int(found["number"]), str(found[digest]))

    def text(key: str) -> str | None:
        found = document.get(key)
        return None if found is None else str(found)

    failed, handovers = document.get("failed_release"), document.get("handovers")
    return Status(
        stage=str(document["stage"]),
        healthy=bool(document.get("healthy", False)),
        release=held("release", "sha256"),
        roster=held("roster", "content"),
        newest_release=int(document["newest_release"]),
        failed_release=None if failed is None else Failure(int(failed["number"]), str(failed["reason"])),
        credentials=held("credentials", "content"),
        certificate=held("certificate", "content"),
        signing=text("signing"),
        handovers=None if handovers is None else int(handovers),
        public_key=text("public_key"),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Patience:
    """How long to try, and how the time passes. Seconds."""

    seconds: float = PUSH_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = field(default=_say)


class ControlPlane:
    """One gateway's control plane at ``url``, whose certificate one of the authorities ``ca`` (PEM) must have made."""

    def __init__(self, name: str, url: str, ca: str, patience: Patience | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise PushError(f"{name}: {url} is not an https URL")
        self.name = name
        self._host, self._port = parts.hostname, parts.port or 443
        self._context = ssl.create_default_context(cadata=ca)
        self._patience = patience or Patience()

    def status(self) -> Status:
        """What the gateway holds; PushError when it does not answer in time."""
        return self._until(self._ask, "answers", self._patience.seconds)

    def status_now(self) -> Status | None:
        """What the gateway holds, asked once; None when it does not answer."""
        try:
            return self._ask()
        except _NotReadyError:
            return None

    def _ask(self) -> Status:
        code, answer = self._request("GET", "/v1/status", None, {})
        if code != http.client.OK:
            raise _NotReadyError(f"status {code}")
        try:
            return parse_status(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise PushError(f"{self.name}: its status cannot be read ({type(error).__name__}: {error})") from None

    def put(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Puts ``body``, and returns once the gateway holds it; PushError when it refuses or does not answer."""

        def send() -> None:
            code, answer = self._request("PUT", path, body, headers)
            if code in (http.client.OK, http.client.CREATED):
                return
            if code in _NOT_READY:
                raise _NotReadyError(str(answer.get("reason") or f"status {code}"))
            raise RefusedError(f"{self.name} refused {path}: {_explained(code, answer)}", code)

        self._until(send, "takes what is pushed", self._patience.seconds)

    def wait_for_release(self, number: int, digest: str) -> None:
        """Returns once the release ``digest`` runs and is healthy; PushError when the gateway could not run it."""

        def check() -> None:
            status = self._ask()
            if status.failed_release is not None and status.failed_release.number == number:
                raise PushError(
                    f"{self.name} went back from release {number}: {status.failed_release.reason}; its journal "
                    "(journalctl -u hybridnet) says more. Mend node/ and run `pulumi up` again"
                )
            if status.release is None or status.release.digest != digest:
                running = f"release {status.release.number}" if status.release else status.stage
                raise _NotReadyError(f"{running} still runs")
            if not status.healthy or status.stage != "service":
                raise _NotReadyError("the release is not healthy yet")

        what = "runs the release (journalctl -u hybridnet on it says what keeps it from that)"
        self._until(check, what, SWITCH_SECONDS)

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any]]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=REQUEST_SECONDS, context=self._context)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            text = response.read(_MAX_ANSWER)
        except ssl.SSLCertVerificationError as error:
            raise PushError(
                f"{self.name} at {self._host}: its certificate is not this stack's ({error.verify_message}); "
                "raise its revision if its user data was made with another authority"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise _NotReadyError(str(error) or type(error).__name__) from None
        finally:
            connection.close()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        return response.status, cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}

    def _until(self, attempt: Callable[[], _T], what: str, seconds: float) -> _T:
        """What ``attempt`` returns once the gateway is ready; PushError after ``seconds``. Says why it waits."""
        patience = self._patience
        start = told = patience.clock()
        while True:
            try:
                return attempt()
            except _NotReadyError as reason:
                now = patience.clock()
                where = f"{self.name} at {self._host}:{self._port}"
                if now - start >= seconds:
                    raise PushError(
                        f"{where}: waited {seconds:.0f} s until it {what}; last: {reason}. Look at the machine and at "
                        "the way to it, then run `pulumi up` again"
                    ) from None
                if now >= told:
                    patience.say(f"waiting until {where} {what}: {reason} ({now - start:.0f} s of {seconds:.0f} s)")
                    told = now + _PROGRESS_SECONDS
                patience.sleep(PAUSE_SECONDS)


def _explained(code: int, answer: Mapping[str, Any]) -> str:
    remedies = {
        403: "its signing key is not this stack's; raise its revision to make it anew",
        409: "it holds a newer one, which somebody else pushed; run `pulumi refresh` and try again",
        413: "it is too large",
    }
    reason = str(answer.get("reason") or f"status {code}")
    return f"{reason}; {remedies[code]}" if code in remedies else reason


def next_number(stored: Held | None, digest: str, reported: Iterable[int]) -> int:
    """The number under which the content ``digest`` is pushed, above everything that gateways hold.

    The stored number holds as long as the content is the same and no gateway reports a higher one.
    """
    highest = max(reported, default=0)
    if stored is not None and stored.digest == digest and stored.number >= highest:
        return stored.number
    return 1 + max(highest, stored.number if stored else 0)

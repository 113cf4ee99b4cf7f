"""Compute Engine's identity tokens (Google Cloud, "Verify the identity of a VM"): JWTs signed with Google's keys."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from node.gateway.lease import Evidence, Refusal
from node.joining import GcpProof, Request
from node.log import say
from overlay.pools import GcpIdentity, Pool, token_audience

ISSUER = "https://accounts.google.com"
HOST = "www.googleapis.com"
PATH = "/oauth2/v3/certs"
LEEWAY_SECONDS = 60
_ASK_SECONDS = 30.0
"""Between two questions for keys, however many unknown ones tokens name."""
_FRESH_SECONDS = 6 * 3600.0
"""Google's answer may be kept for about as long (its Cache-Control)."""
_PATIENCE = 5.0
_LIMIT = 64 * 1024
_MAX_KEYS = 32
_RETRY_SECONDS = 5


def fetch() -> bytes:
    """Google's present keys (a JSON Web Key Set, RFC 7517), checked by the system's CAs; OSError, HTTPException."""
    end = time.monotonic() + _PATIENCE
    connection = http.client.HTTPSConnection(HOST, timeout=_PATIENCE, context=ssl.create_default_context())
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"{HOST}{PATH} answers {answer.status}")
        found = bytearray()
        while chunk := answer.read1(8192):
            found += chunk
            if len(found) > _LIMIT or time.monotonic() > end:
                raise OSError(f"{HOST}{PATH} answers too much or too slowly")
        return bytes(found)
    finally:
        connection.close()


class GoogleKeys:
    """Google's keys by their id: asked for when one is unknown or they are old, and seldom. ``clock`` is monotonic."""

    def __init__(self, ask: Callable[[], bytes] = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: Mapping[str, Any] = {}
        self._asked: float | None = None
        self._fresh_until = 0.0

    async def key(self, ident: str) -> Any:
        """The public key called ``ident``; Refusal: 403 when Google has no such key, 503 when it cannot be asked."""
        async with self._lock:
            is_due = self._asked is None or self._clock() - self._asked >= _ASK_SECONDS
            if is_due and (ident not in self._keys or self._clock() >= self._fresh_until):
                await self._refresh()
            if ident in self._keys:
                return self._keys[ident]
            if self._clock() >= self._fresh_until:
                raise Refusal(503, "proof: Google's keys cannot be had right now", _RETRY_SECONDS)
            raise Refusal(403, "proof: Google has no key of this id", kind="proof")

    async def _refresh(self) -> None:
        from jwt import PyJWTError

        self._asked = self._clock()
        try:
            self._keys = _keys_of(await asyncio.to_thread(self._ask))
            self._fresh_until = self._clock() + _FRESH_SECONDS
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, PyJWTError) as error:
            say(f"Google's keys for identity tokens cannot be had: {type(error).__name__}: {error}")


def _keys_of(body: bytes) -> dict[str, Any]:
    from jwt.algorithms import RSAAlgorithm

    keys = cast("list[dict[str, Any]]", json.loads(body)["keys"])
    usable = [key for key in keys if key.get("kty") == "RSA"][:_MAX_KEYS]
    return {str(key["kid"]): RSAAlgorithm.from_jwk(json.dumps(key)) for key in usable}


async def verified(
    pool: Pool, identity: GcpIdentity, request: Request, proof: GcpProof, google: GoogleKeys
) -> Evidence:
    """The machine of a token that holds for the pool, the request's key and its instance; Refusal (403, 503)."""
    try:
        import jwt
    except ImportError:
        why = "proof: the gateway cannot check tokens: it has no python3-jwt; raise its `revision`"
        raise Refusal(503, why, _RETRY_SECONDS) from None
    try:
        header = jwt.get_unverified_header(proof.token)
        key = await google.key(str(header.get("kid")))
        told = jwt.decode(
            proof.token,
            key,
            algorithms=["RS256"],
            audience=token_audience(pool.name, request.public_key),
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "aud", "iss"]},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Refusal(403, f"proof: the token does not hold: {error}", kind="proof") from None
    engine = _engine(told)
    if engine.get("project_id") != identity.project:
        raise Refusal(403, f"proof: the token is of another project than {identity.project}", kind="proof")
    if str(engine.get("instance_id")) != request.instance_id:
        raise Refusal(403, "proof: the token is another instance's", kind="proof")
    return Evidence(f"gcp:{identity.project}:{request.instance_id}", binds=False)


def _engine(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the token says of the machine; it is there when the token was asked for in the format ``full``."""
    google = told.get("google")
    engine = cast("Mapping[str, Any]", google).get("compute_engine") if isinstance(google, dict) else None
    return cast("Mapping[str, Any]", engine) if isinstance(engine, dict) else {}

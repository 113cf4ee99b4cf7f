"""When the certificates expire that a gateway needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from node.gateway.certificate import Certificates
from node.gateway.network import Network
from node.gateway.serving.credentials import CredentialStore
from node.log import say
from node.pem import PemError, not_after, read_chain


class Expiries:
    """Of the certificate that requests are served with, of the control plane's, and of the stack's authority."""

    def __init__(self, network: Network, credentials: CredentialStore, certificates: Certificates) -> None:
        self._network = network
        self._credentials = credentials
        self._certificates = certificates
        self._problem = ""

    def ends(self) -> Mapping[str, float]:
        """By name (serving, control, ca) when each expires, in seconds since 1970; those that there are."""
        found: dict[str, float] = {}
        if self._credentials.kept:
            found["serving"] = self._credentials.kept.not_after.timestamp()
        try:
            found["control"] = self._certificates.not_after.timestamp()
            found["ca"] = _end(self._authority())
            self._problem = ""
        except (PemError, OSError) as error:
            problem = f"when the stack's certificates expire cannot be found out: {error}"
            if problem != self._problem:
                say(problem)
            self._problem = problem
        return found

    def _authority(self) -> str:
        """The stack's present authority (PEM): the roster's, or that of first boot."""
        kept = self._network.rosters.kept
        if kept and kept.roster.authorities:
            return kept.roster.authorities[0]
        return (self._network.config.files / "ca.pem").read_text()


@lru_cache(maxsize=4)
def _end(pem: str) -> float:
    return not_after(read_chain("ca", pem)[0]).timestamp()

"""What 169.254.169.254 answers a machine: EC2's instance metadata, Compute Engine's and Hetzner's."""

from __future__ import annotations

import time
from typing import Protocol

from localcloud.fabric.metadata import aws, gcp, hetzner
from localcloud.fabric.metadata.aws import TOKEN, TOKEN_TTL, Tokens
from localcloud.fabric.metadata.service import Answer, Request
from localcloud.spec import MachineSpec

__all__ = ["TOKEN", "TOKEN_TTL", "Answer", "Request", "Signer", "Tokens", "answer"]


class Signer(aws.Signer, gcp.Signer, Protocol):
    """Vouches for machines, as their clouds do."""


def answer(spec: MachineSpec, request: Request, tokens: Tokens, signer: Signer) -> Answer:
    """The cloud's metadata service's answer to its machine `spec`."""
    if spec.cloud == "aws":
        return aws.answer(spec, request, tokens, signer)
    if spec.cloud == "gcp":
        return gcp.answer(spec, request, signer, time.time())
    return hetzner.answer(spec, request)

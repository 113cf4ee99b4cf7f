"""Proof of origin: that a machine which asks to join is one of its cloud's, in our account, and which one it is."""

from __future__ import annotations

from node.gateway.identity import aws, gcp
from node.gateway.lease import Evidence, Refusal
from node.joining import AwsProof, GcpProof, Request
from overlay.pools import AwsIdentity, GcpIdentity, Pool


async def verified(pool: Pool, request: Request, google: gcp.GoogleKeys) -> Evidence | None:
    """What the request's proof says, None when the pool asks for none; Refusal when it does not hold.

    Refusals are 403, or 503 when nobody can say right now.
    """
    if pool.identity is None:
        return None
    if isinstance(pool.identity, AwsIdentity) and isinstance(request.proof, AwsProof):
        return aws.verified(pool.identity, request.proof, request.instance_id)
    if isinstance(pool.identity, GcpIdentity) and isinstance(request.proof, GcpProof):
        return await gcp.verified(pool, pool.identity, request, request.proof, google)
    cloud = "aws" if isinstance(pool.identity, AwsIdentity) else "gcp"
    raise Refusal(403, f"proof: the pool asks for one of {cloud}", kind="proof")

"""A pool of machines that join the overlay at run time."""

from __future__ import annotations

import pulumi

from components.gateway import WgGateway
from components.keys import pool_token
from components.machine import PoolGroup, SiteNetwork
from components.pool_plan import PoolPlan
from components.userdata import join_script, pool_user_data


class InferencePool(pulumi.ComponentResource):
    """Machines that nobody knows in advance: a group of spot machines on AWS and GCP, servers on Hetzner.

    All get the same first-boot document, with the pool's join token and no private key. Whoever changes the group's
    size changes no resource of the stack: machines come and go by joining and leaving at the gateway. The machines of
    an external pool are made by others, and join in the same way.
    """

    token: pulumi.Output[str]
    """What its machines join with; secret."""
    token_digest: pulumi.Output[str]
    """SHA-256 (hex) of the token."""
    join_script: pulumi.Output[str] | None
    """What machines of an external pool join by, the token apart; None for other pools."""

    def __init__(
        self,
        pool: PoolPlan,
        network: SiteNetwork | None,
        gateway: WgGateway,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``pool`` says which one this is; it stands in ``network``, and its machines join at ``gateway``.

        An external pool needs no network.
        """
        super().__init__("hybrid-wireguard:index:InferencePool", pool.name, {}, opts)
        self.plan = pool
        token = pool_token(pool.name, pool.token_revision, pulumi.ResourceOptions(parent=self))
        self.token, self.token_digest = token.token, token.digest
        told = gateway.told_to_pool(pool)
        if pool.is_external:
            self.join_script = join_script(pool, told=told)
            self.group = PoolGroup(None, None, None)
        else:
            assert network is not None
            self.join_script = None
            self.group = network.pool(pool, pool_user_data(pool, token=token.token, told=told), self)
        self.register_outputs({"group": self.group.name, "role": self.group.role})

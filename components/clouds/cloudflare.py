"""Cloudflare before the gateways: the name that requests come to, whom gateways let in, the origin's certificate.

The SDK takes seconds to import, and is an extra: only stacks that use it import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

import pulumi
import pulumi_cloudflare as cloudflare
import pulumi_tls as tls

from components.certificates import Certificate
from components.settings.models import Settings
from components.settings.serving import CloudflareSettings
from overlay.serving import SERVING_PORT

HEALTH_PATH = "/health"
"""What a gateway answers 200 at while it has a healthy machine."""
_AUTOMATIC = 1
"""The one TTL of proxied records."""
_VALIDITY_DAYS = 15 * 365
"""Cloudflare's own default and its longest. The provider renews nothing, and nobody but Cloudflare trusts it."""


class CloudflareEdge(pulumi.ComponentResource):
    """What Cloudflare has to know of the stack, and what the gateways have to know of Cloudflare."""

    ranges: pulumi.Output[Sequence[str]]
    """The networks (CIDR, both IP versions, sorted) that Cloudflare's requests come from, as it publishes them."""
    certificate: Certificate | None
    """A certificate of Cloudflare's origin authority, when the settings ask for one."""
    prepared: Sequence[pulumi.Resource]
    """What makes Cloudflare show gateways the certificate that they ask for."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        wanted: CloudflareSettings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``wanted`` is what ``settings`` say of Cloudflare."""
        super().__init__("hybrid-wireguard:index:CloudflareEdge", name, {}, opts)
        self._name = name
        self._settings = settings
        self._wanted = wanted
        self._child = pulumi.ResourceOptions(parent=self)
        published = cloudflare.get_ip_ranges_output(opts=pulumi.InvokeOutputOptions(parent=self))
        self.ranges = pulumi.Output.all(published.ipv4_cidrs, published.ipv6_cidrs).apply(_sorted)
        balancer = settings.load_balancer
        self.certificate = self._origin_certificate() if balancer.certificate == "cloudflare" else None
        self.prepared = () if balancer.client_ca is None else (self._origin_pulls(),)
        self.register_outputs({"ranges": self.ranges})

    def send_to(self, gateways: Mapping[str, pulumi.Input[str]]) -> None:
        """Sends the hostname's requests to these gateways, by name their IPv4 addresses on the internet."""
        if len(gateways) == 1:
            ((name, address),) = gateways.items()
            self._send_to_one(name, address)
        else:
            self._balance(gateways)

    def _origin_pulls(self) -> pulumi.Resource:
        return cloudflare.ZoneSetting(
            f"{self._name}-origin-pulls",
            zone_id=self._wanted.zone_id,
            setting_id="tls_client_auth",
            value="on",
            opts=self._child,
        )

    def _origin_certificate(self) -> Certificate:
        key = tls.PrivateKey(f"{self._name}-key", algorithm="ECDSA", ecdsa_curve="P256", opts=self._child)
        private_key = pulumi.Output.secret(key.private_key_pem)
        names = self._settings.load_balancer.names
        request = tls.CertRequest(
            f"{self._name}-request",
            private_key_pem=private_key,
            subject={"common_name": self._wanted.hostname},
            dns_names=names,
            opts=self._child,
        )
        made = cloudflare.OriginCaCertificate(
            f"{self._name}-certificate",
            csr=request.cert_request_pem,
            hostnames=names,
            request_type="origin-ecc",
            requested_validity=_VALIDITY_DAYS,
            opts=self._child,
        )
        return Certificate(made.certificate.apply(lambda pem: f"{pem.strip()}\n"), private_key)

    def _send_to_one(self, name: str, address: pulumi.Input[str]) -> None:
        wanted = self._wanted
        cloudflare.DnsRecord(
            f"{self._name}-record",
            zone_id=wanted.zone_id,
            name=wanted.hostname,
            type="A",
            content=address,
            ttl=_AUTOMATIC,
            proxied=True,
            opts=self._child,
        )
        if wanted.monitor:
            cloudflare.Healthcheck(
                f"{self._name}-healthcheck",
                zone_id=wanted.zone_id,
                name=f"{self._settings.prefix}-{name}",
                address=address,
                type="HTTPS",
                http_config=cloudflare.HealthcheckHttpConfigArgs(
                    method="GET",
                    path=HEALTH_PATH,
                    port=SERVING_PORT,
                    expected_codes=["200"],
                    header=self._host,
                    allow_insecure=self._unverified,
                ),
                opts=self._child,
            )

    def _balance(self, gateways: Mapping[str, pulumi.Input[str]]) -> None:
        wanted, account = self._wanted, self._wanted.account_id
        assert account is not None, "settings of several gateways without an account are refused"
        monitor = None
        if wanted.monitor:
            monitor = cloudflare.LoadBalancerMonitor(
                f"{self._name}-monitor",
                account_id=account,
                type="https",
                method="GET",
                path=HEALTH_PATH,
                port=SERVING_PORT,
                expected_codes="200",
                header=self._host,
                allow_insecure=self._unverified,
                description=self._settings.prefix,
                opts=self._child,
            )
        pool = cloudflare.LoadBalancerPool(
            f"{self._name}-pool",
            account_id=account,
            name=self._settings.prefix,
            origins=[
                cloudflare.LoadBalancerPoolOriginArgs(name=name, address=address)
                for name, address in sorted(gateways.items())
            ],
            monitor=None if monitor is None else monitor.id,
            opts=self._child,
        )
        cloudflare.LoadBalancer(
            f"{self._name}-balancer",
            zone_id=wanted.zone_id,
            name=wanted.hostname,
            default_pools=[pool.id],
            fallback_pool=pool.id,
            proxied=True,
            steering_policy="off",
            opts=self._child,
        )

    @property
    def _host(self) -> dict[str, list[str]]:
        return {"Host": [self._wanted.hostname]}

    @property
    def _unverified(self) -> bool:
        """Whether checks leave the certificate alone: they are of authorities that only the origin's clients know."""
        return self._settings.load_balancer.certificate != "given"


def _sorted(published: Sequence[Sequence[str]]) -> list[str]:
    """The networks in an order of their own, so that one that is published in another changes nothing."""
    networks = {ip_network(text) for family in published for text in family}
    return [str(network) for network in sorted(networks, key=lambda each: (each.version, int(each.network_address)))]

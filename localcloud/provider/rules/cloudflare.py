"""What Cloudflare accepts. As of November 2026."""

from __future__ import annotations

ID = r"[0-9a-f]{32}"
"""Zones, accounts and what is in them: https://developers.cloudflare.com/api/ ("Identifier", 32 characters)."""
LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
HOSTNAME = rf"(\*\.)?{LABEL}(\.{LABEL})+"
"""A fully qualified name, which a wildcard may begin:
https://developers.cloudflare.com/ssl/origin-configuration/origin-ca/#hostname-and-wildcard-coverage"""
NAME = r"[A-Za-z0-9_-]+"
"""Of pools and health checks: terraform-provider-cloudflare, internal/services/load_balancer_pool/schema.go."""

IPV4_RANGES = ("192.0.2.128/26", "192.0.2.192/27")
IPV6_RANGES = ("2001:db8:cf00::/44", "2001:db8:cf80::/44")
"""Published here in place of https://www.cloudflare.com/ips/: documentation's addresses, the edge's among them."""

# terraform-provider-cloudflare, internal/services/dns_record/schema.go
RECORD_TYPES = (
    "A",
    "AAAA",
    "CAA",
    "CERT",
    "CNAME",
    "DNSKEY",
    "DS",
    "HTTPS",
    "LOC",
    "MX",
    "NAPTR",
    "NS",
    "OPENPGPKEY",
    "PTR",
    "SMIMEA",
    "SRV",
    "SSHFP",
    "SVCB",
    "TLSA",
    "TXT",
    "URI",
)
PROXIED_TYPES = ("A", "AAAA", "CNAME")
"""https://developers.cloudflare.com/dns/proxy-status/#proxied-records"""
AUTOMATIC_TTL = 1
TTL = (60, 86400)
"""Seconds, least and most: terraform-provider-cloudflare, internal/services/dns_record/schema.go."""

# terraform-provider-cloudflare, internal/services/origin_ca_certificate/schema.go
REQUEST_TYPES = ("origin-rsa", "origin-ecc", "keyless-certificate")
VALIDITY_DAYS = (7, 30, 90, 365, 730, 1095, 5475)

# terraform-provider-cloudflare, internal/services/load_balancer_monitor/schema.go and healthcheck/schema.go
MONITOR_TYPES = ("http", "https", "tcp", "udp_icmp", "icmp_ping", "smtp")
HEALTHCHECK_TYPES = ("HTTP", "HTTPS", "TCP")
HEALTHCHECK_METHODS = ("GET", "HEAD")

# terraform-provider-cloudflare, internal/services/load_balancer/schema.go and load_balancer_pool/schema.go
STEERING = ("off", "geo", "random", "dynamic_latency", "proximity", "least_outstanding_requests", "least_connections")
ORIGIN_STEERING = ("random", "hash", "least_outstanding_requests", "least_connections")
AFFINITIES = ("none", "cookie", "ip_cookie", "header")
REGIONS = (
    "WNAM",
    "ENAM",
    "WEU",
    "EEU",
    "NSAM",
    "SSAM",
    "OC",
    "ME",
    "NAF",
    "SAF",
    "SAS",
    "SEAS",
    "NEAS",
    "ALL_REGIONS",
)

SWITCHES = ("always_use_https", "tls_client_auth", "websockets")
"""Settings of a zone that the local cloud takes, each on or off:
https://developers.cloudflare.com/api/resources/zones/subresources/settings/"""

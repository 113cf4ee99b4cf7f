"""A firewall that somebody opened to fix something in a hurry."""

import pulumi_hcloud as hcloud

hcloud.Firewall(
    "hurry",
    labels={"stack": "dev"},
    rules=[
        hcloud.FirewallRuleArgs(direction="in", protocol="tcp", port="22", source_ips=["203.0.113.0/24"]),
        hcloud.FirewallRuleArgs(direction="in", protocol="tcp", port="22", source_ips=["0.0.0.0/1", "128.0.0.0/1"]),
    ],
)

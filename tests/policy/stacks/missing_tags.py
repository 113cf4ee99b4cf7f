"""A network that nobody will know whose it is."""

import pulumi_hcloud as hcloud

hcloud.Network("network", ip_range="172.30.0.0/24", labels={"team": "ml"})

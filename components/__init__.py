"""What Pulumi provisions: settings, keys, gateways, spokes and what is pushed to them."""

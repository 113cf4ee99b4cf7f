"""What a stack must keep to, as a Pulumi policy pack: `--policy-pack policy`. docs/policies.md has the list."""

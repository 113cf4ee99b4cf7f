"""A small engine for Pulumi programs in Python: what drives the program where no `pulumi` CLI is installed.

It serves the SDK's ResourceMonitor and Engine gRPC protocols, drives the provider servers that PULUMI_DEBUG_PROVIDERS
names and `python -m pulumi.dynamic`, and keeps a stack's state in Pulumi's deployment format. What it does not do
(explicit providers, remote components, transforms, hooks, `replace_with`, parameterized packages, assets) it refuses.
"""

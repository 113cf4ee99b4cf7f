"""The resource provider of the local cloud: hcloud, aws, gcp, tls and cloudflare behind Pulumi's provider protocol.

A resource is a record in the world; the machines among them are projected to `MachineSpec`s and handed to the fabric.
"""

"""The network as pure Python: addresses, topologies, who peers with whom, the roster's canonical bytes.

Standard library only and Python 3.10, because the same code runs in the Pulumi program and on the machines.
Nothing here reads a file, a clock or the environment.
"""

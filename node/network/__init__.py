"""What keeps a machine in the network at run time: its peers, where it hangs, and what it asks of its gateway.

``docs/control-plane.md`` has the contract. Spokes and machines of pools run this alike.
"""

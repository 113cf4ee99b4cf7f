"""What a preview changes, for those who review it: peers, machines, ports, cost."""

"""How each cloud makes a machine, its firewall, its address and its network."""

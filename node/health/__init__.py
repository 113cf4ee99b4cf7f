"""Whether a machine is well in the network: what it looks at, what it makes of that, and what a restart can mend."""

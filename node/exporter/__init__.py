"""What every node shows Prometheus: its peers and itself, in the text format, at one port of its overlay address."""

PORT = 9586

"""Real machines in network namespaces, and the internet between them."""

from localcloud.fabric.fabric import Fabric, MachineState

__all__ = ["Fabric", "MachineState"]

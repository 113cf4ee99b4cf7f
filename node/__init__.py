"""What runs on the machines: stage 0, the gateway's service and the spokes' agent."""

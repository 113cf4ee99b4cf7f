"""What watches the network: Prometheus' rules and configuration, and what Alertmanager, Grafana and Kubernetes need."""

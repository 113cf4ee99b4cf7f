"""A monitoring host for the network of another stack: it joins as an external spoke and scrapes every node."""

from checkout import REPOSITORY

# isort: split
import pulumi
from first_boot import PORT, Joined, address_of, render
from host import MonitoringHost

from components.outputs import JoinOutput, StackOutputs, StackReader
from monitoring.scrape import prometheus_config

config = pulumi.Config()
spoke = config.require("spoke")
network = StackReader(pulumi.StackReference(config.require("network")))


def user_data(outputs: StackOutputs, configurations: dict[str, str], join: JoinOutput) -> str:
    """What the host is told, from what the network's stack exports."""
    joined = Joined.of(outputs, configurations, spoke)
    prometheus = prometheus_config(outputs, "http", "/etc/prometheus/hybridnet-ca.pem", alertmanager=None)
    return render(joined, prometheus, (REPOSITORY / "monitoring" / "rules.yaml").read_text(), join.ca)


known = pulumi.Output.all(network.outputs, network.configurations, network.join)
host = MonitoringHost(
    spoke,
    user_data=pulumi.Output.secret(known.apply(lambda found: user_data(*found))),
    location=config.require("location"),
    server_type=config.require("serverType"),
    ssh_keys=config.require_object("sshKeys"),
    admin_cidrs=config.require_object("adminCidrs"),
    revision=config.require_int("revision"),
)

address = network.outputs.apply(lambda outputs: address_of(outputs, spoke))
pulumi.export("prometheus", address.apply(lambda found: f"http://{found}:{PORT}"))
pulumi.export("public_ip", host.public_ip)

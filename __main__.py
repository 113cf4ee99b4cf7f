"""The program: settings, components, exports."""

import pulumi

from components.edge import make_edge
from components.exports import stack_outputs
from components.gateway import WgGateway
from components.network import make_sites
from components.plan import warnings
from components.pool import InferencePool
from components.pushes import push_everything
from components.settings.load import read
from components.spoke import WgSpoke
from components.stack import make_stack

settings = read()
for warning in warnings(settings):
    pulumi.log.warn(warning)

stack = make_stack(settings)
sites = make_sites(stack)
edge = make_edge(stack)
gateways = {name: WgGateway(machine, stack, sites[machine.site], edge) for name, machine in stack.plan.gateways.items()}
if edge is not None:
    edge.send_to({name: gateway.public_address for name, gateway in gateways.items()})
spokes = {
    name: WgSpoke(machine, stack, sites.get(machine.site), gateways[stack.plan.hangs_on(machine).name])
    for name, machine in stack.plan.spokes.items()
}
pools = {
    name: InferencePool(pool, sites.get(pool.site), gateways[stack.plan.gateway_of(pool).name])
    for name, pool in stack.plan.pools.items()
}
roster = push_everything(stack, gateways, spokes, pools, edge)

for name, value in stack_outputs(stack, gateways, spokes, pools, roster).items():
    pulumi.export(name, value)

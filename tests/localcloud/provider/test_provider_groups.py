"""Groups at work, in simulated time: they launch, end and replace their members as machines and clock say."""

from __future__ import annotations

from collections import Counter

import pytest

from localcloud.provider import groups, members
from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.kind import CloudError
from localcloud.provider.members import Status
from localcloud.provider.world import Record, World
from localcloud.wire import Value
from tests.localcloud.provider.harness import Harness
from tests.localcloud.provider.scenery import described, make_aws, make_gcp
from tests.localcloud.provider.simulation import AWS, GCP, Simulation


def test_a_group_launches_what_it_shall_have(aws_pool: Simulation) -> None:
    pool = aws_pool.pool(AWS)
    assert (pool.cloud, pool.desired, pool.minimum, pool.maximum) == ("aws", 2, 2, 6)
    assert [member.phase for member in pool.members] == ["in-service"] * 2
    assert aws_pool.clouds.fabric.nodes == sorted(["aws-1", *aws_pool.nodes(AWS)])
    assert aws_pool.clouds.read(aws_pool.made["scaling"])[1]["desiredCapacity"] == 2


def test_a_managed_group_launches_what_it_shall_have_in_every_zone(gcp_pool: Simulation) -> None:
    gcp_pool.scale(GCP, 3)
    gcp_pool.settle()
    zones = [gcp_pool.record(node).facts.text("zone") for node in gcp_pool.nodes(GCP)]
    assert zones == ["europe-west3-a", "europe-west3-b", "europe-west3-c"]
    assert all(len(member.id) == 19 and member.id.isdecimal() for member in gcp_pool.pool(GCP).members)
    assert gcp_pool.clouds.read(gcp_pool.made["manager"])[1]["targetSize"] == 3


def test_a_member_is_pending_until_its_machine_is_there(clouds: Harness) -> None:
    simulation = Simulation(clouds, make_aws(clouds))
    simulation.step()
    assert simulation.phases(AWS) == {"pending": 2}
    simulation.step()
    assert simulation.phases(AWS) == {"in-service": 2}


def test_with_nothing_to_do_nothing_is_written_nor_applied(aws_pool: Simulation) -> None:
    written, applied = aws_pool.clouds.cloud.world.stat().st_mtime_ns, len(aws_pool.clouds.fabric.history)
    aws_pool.step(1000)
    assert aws_pool.clouds.cloud.world.stat().st_mtime_ns == written
    assert len(aws_pool.clouds.fabric.history) == applied


def test_without_groups_no_machine_is_looked_at(clouds: Harness) -> None:
    def never() -> dict[str, Status]:
        raise AssertionError("looked")

    assert groups.advance(clouds.ledger, never, 0) == ()


def test_who_is_too_many_leaves_through_the_hook(aws_pool: Simulation) -> None:
    oldest, other = aws_pool.nodes(AWS)
    aws_pool.clouds.update(aws_pool.made["scaling"], minSize=1)
    aws_pool.scale(AWS, 1)
    aws_pool.settle()
    assert aws_pool.record(oldest).facts.text("phase") == "terminating-wait"
    assert aws_pool.clouds.fabric.machine(oldest).metadata["lifecycle_state"] == "Terminated"
    assert aws_pool.clouds.fabric.machine(other).metadata["lifecycle_state"] == "InService"
    aws_pool.step(119)
    assert oldest in aws_pool.nodes(AWS)
    aws_pool.step(2)
    assert aws_pool.nodes(AWS) == [other]
    assert oldest not in aws_pool.clouds.fabric.nodes


def test_who_leaves_is_gone_as_soon_as_it_stopped(aws_pool: Simulation) -> None:
    aws_pool.clouds.update(aws_pool.made["scaling"], minSize=0)
    aws_pool.scale(AWS, 1)
    aws_pool.settle()
    gone, stays = aws_pool.nodes(AWS)
    aws_pool.end(gone)
    aws_pool.step()
    assert aws_pool.nodes(AWS) == [stays]


def test_the_longest_hook_counts_and_without_one_it_goes_at_once(clouds: Harness) -> None:
    simulation = Simulation(clouds, make_aws(clouds))
    simulation.settle()
    clouds.update(simulation.made["scaling"], minSize=0)
    simulation.scale(AWS, 1)
    simulation.step(3599)
    simulation.step(3599)
    assert simulation.phases(AWS) == {"terminating-wait": 1, "in-service": 1}
    simulation.step(2)
    assert simulation.phases(AWS) == {"in-service": 1}
    bare: dict[str, Value] = {**simulation.made["scaling"].inputs, "name": "bare", "minSize": 0, "desiredCapacity": 1}
    del bare["initialLifecycleHooks"]
    clouds.make(aws.SCALING_GROUP, "bare", **bare)
    simulation.settle()
    assert len(simulation.clouds.fabric.nodes) == 3
    group = next(pool for pool in groups.pools(simulation.world) if pool.group == "bare")
    assert len(group.members) == 1
    simulation.clouds.ledger.change(lambda world: world.note(_group(world, "bare"), desired=0))
    simulation.step()
    assert group.members[0].node not in simulation.clouds.fabric.nodes


@pytest.mark.parametrize("status", ["stopped", "crashed"])
def test_a_member_that_ended_is_replaced_by_another_instance(aws_pool: Simulation, status: Status) -> None:
    lost, other = aws_pool.nodes(AWS)
    aws_pool.end(lost, status)
    aws_pool.step()
    found = aws_pool.nodes(AWS)
    assert lost not in found
    assert other in found
    assert len(found) == 2


@pytest.mark.parametrize("status", ["stopped", "crashed"])
def test_a_managed_member_that_ended_comes_back_under_its_name(gcp_pool: Simulation, status: Status) -> None:
    lost = gcp_pool.nodes(GCP)[0]
    before = gcp_pool.record(lost)
    gcp_pool.end(lost, status)
    gcp_pool.step()
    assert lost not in gcp_pool.nodes(GCP)
    again = [gcp_pool.record(node) for node in gcp_pool.nodes(GCP)]
    same = [member for member in again if member.inputs.text("name") == before.inputs.text("name")]
    assert len(again) == 2
    assert len(same) == 1
    assert same[0].facts.text("zone") == before.facts.text("zone")
    assert gcp_pool.pressed == [], "nobody told it to stop"


def test_one_that_was_told_to_go_leaves_its_name_to_nobody(gcp_pool: Simulation) -> None:
    oldest = gcp_pool.nodes(GCP)[0]
    name = gcp_pool.record(oldest).inputs.text("name")
    gcp_pool.scale(GCP, 1)
    gcp_pool.settle()
    gcp_pool.end(oldest)
    gcp_pool.scale(GCP, 2)
    gcp_pool.settle()
    names = [gcp_pool.record(node).inputs.text("name") for node in gcp_pool.nodes(GCP)]
    assert len(names) == 2
    assert name not in names


def test_names_that_are_taken_are_not_given_again(gcp_pool: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.provider.clouds.gcp.fleet._SUFFIX", "ab")
    gcp_pool.scale(GCP, 16)
    gcp_pool.settle()
    names = [gcp_pool.record(node).inputs.text("name") for node in gcp_pool.nodes(GCP)]
    assert len(set(names)) == 16


def test_members_stay_spread_over_the_zones(gcp_pool: Simulation) -> None:
    def zones() -> list[str | None]:
        gcp_pool.settle()
        gcp_pool.step(91)
        return [(gcp_pool.record(node).facts.text("zone") or "")[-1] for node in gcp_pool.nodes(GCP)]

    found: list[list[str | None]] = []
    for size in (4, 3, 5, 4, 3, 1):
        gcp_pool.scale(GCP, size)
        found.append(zones())
    assert found == [[*"abca"], [*"bca"], [*"bcaab"], [*"caab"], [*"cab"], [*"b"]]
    gcp_pool.end(gcp_pool.nodes(GCP)[0])
    assert zones() == ["b"], "one that is made anew stays in its zone"


@pytest.mark.parametrize(("policy", "came_back_with"), [("YES", "new"), ("NO", "old")])
def test_a_repaired_member_has_the_template_that_the_policy_says(
    clouds: Harness, policy: str, came_back_with: str
) -> None:
    made = make_gcp(clouds)
    email = made["account"].text("email")
    first, second = (
        clouds.make(made["gtemplate"].token, f"{word}-template", **described(made["gsubnet"].id, email, word))
        for word in ("old", "new")
    )
    settings: dict[str, Value] = {"instanceLifecyclePolicy": {"forceUpdateOnRepair": policy}, "targetSize": 1}
    manager = clouds.update(made["manager"], versions=[{"instanceTemplate": first.id}], **settings)
    simulation = Simulation(clouds, made)
    simulation.settle()
    clouds.update(manager, versions=[{"instanceTemplate": second.id}])
    simulation.settle()
    node = simulation.nodes(GCP)[0]
    assert clouds.fabric.machine(node).user_data == "old", "a member stays as it is"
    simulation.end(node)
    simulation.settle()
    assert clouds.fabric.machine(simulation.nodes(GCP)[0]).user_data == came_back_with
    simulation.scale(GCP, 2)
    simulation.settle()
    assert clouds.fabric.machine(simulation.nodes(GCP)[1]).user_data == "new", "new ones get the newest"


def test_a_managed_member_that_is_too_many_is_told_by_its_power_button(gcp_pool: Simulation) -> None:
    oldest, other = gcp_pool.nodes(GCP)
    gcp_pool.scale(GCP, 1)
    gcp_pool.settle()
    gcp_pool.step(89)
    gcp_pool.end(other)
    gcp_pool.step(0)
    (other,) = (member.node for member in gcp_pool.pool(GCP).members if member.node != oldest)
    gcp_pool.settle()
    assert gcp_pool.pressed == [oldest], "once"
    assert gcp_pool.phases(GCP) == {"terminating": 1, "in-service": 1}
    gcp_pool.step(1)
    assert gcp_pool.nodes(GCP) == [other]
    assert not gcp_pool.clouds.fabric.machine(other).metadata["preempted"]


def test_an_interrupted_member_is_replaced_at_its_notice_and_taken_at_its_time(aws_pool: Simulation) -> None:
    taken = aws_pool.nodes(AWS)[0]
    assert aws_pool.interrupt(taken) == 120
    aws_pool.settle()
    metadata = aws_pool.clouds.fabric.machine(taken).metadata
    assert metadata["spot_action"] == {"action": "terminate", "time": members.clock(aws_pool.now + 120)}
    assert metadata["lifecycle_state"] == "InService"
    assert aws_pool.phases(AWS) == {"in-service": 3}, "the replacement is there already"
    aws_pool.step(119)
    assert taken in aws_pool.nodes(AWS)
    aws_pool.step(1)
    assert taken not in aws_pool.nodes(AWS)
    assert aws_pool.phases(AWS) == {"in-service": 2}


def test_without_rebalancing_it_is_replaced_when_it_is_gone(aws_pool: Simulation) -> None:
    aws_pool.clouds.update(aws_pool.made["scaling"], capacityRebalance=False)
    taken = aws_pool.nodes(AWS)[0]
    assert aws_pool.interrupt(taken, 10) == 10
    aws_pool.settle()
    assert len(aws_pool.nodes(AWS)) == 2
    aws_pool.step(10)
    assert taken not in aws_pool.nodes(AWS)
    assert len(aws_pool.nodes(AWS)) == 2


def test_a_preempted_member_is_told_and_told_by_its_power_button(gcp_pool: Simulation) -> None:
    taken = gcp_pool.nodes(GCP)[0]
    assert gcp_pool.interrupt(taken) == 30
    gcp_pool.settle()
    assert gcp_pool.clouds.fabric.machine(taken).metadata["preempted"] is True
    assert gcp_pool.pressed == [taken]
    gcp_pool.step(29)
    assert taken in gcp_pool.nodes(GCP)
    gcp_pool.step(1)
    assert taken not in gcp_pool.nodes(GCP)
    assert len(gcp_pool.nodes(GCP)) == 2


def test_a_preempted_member_that_stops_earlier_is_replaced_then(gcp_pool: Simulation) -> None:
    taken = gcp_pool.nodes(GCP)[0]
    gcp_pool.interrupt(taken)
    gcp_pool.settle()
    gcp_pool.end(taken)
    gcp_pool.step()
    assert taken not in gcp_pool.nodes(GCP)
    assert len(gcp_pool.nodes(GCP)) == 2


def test_at_a_recommendation_the_replacement_comes_first_and_the_old_one_leaves_through_the_hook(
    aws_pool: Simulation,
) -> None:
    leaving = aws_pool.nodes(AWS)[0]
    aws_pool.rebalance(leaving)
    aws_pool.step()
    metadata = aws_pool.clouds.fabric.machine(leaving).metadata
    assert metadata["rebalance"] == members.clock(aws_pool.now - 0.5)
    assert metadata["lifecycle_state"] == "InService"
    assert "spot_action" not in metadata
    assert aws_pool.phases(AWS) == {"in-service": 2, "pending": 1}
    aws_pool.settle()
    assert aws_pool.phases(AWS) == {"in-service": 3}, "the new one has not passed its checks yet"
    aws_pool.step(15)
    assert aws_pool.clouds.fabric.machine(leaving).metadata["lifecycle_state"] == "Terminated"
    assert aws_pool.phases(AWS) == {"in-service": 2, "terminating-wait": 1}
    aws_pool.step(121)
    assert aws_pool.phases(AWS) == {"in-service": 2}


def test_on_demand_instances_are_as_many_as_the_policy_says(clouds: Harness) -> None:
    made = make_aws(clouds)
    policy = made["scaling"].inputs["mixedInstancesPolicy"]
    assert isinstance(policy, dict)
    distribution: dict[str, Value] = {"onDemandBaseCapacity": 1, "onDemandPercentageAboveBaseCapacity": 25}
    clouds.update(made["scaling"], mixedInstancesPolicy={**policy, "instancesDistribution": distribution})
    simulation = Simulation(clouds, made)
    simulation.scale(AWS, 5)
    simulation.settle()
    kinds = Counter(clouds.fabric.machine(node).metadata["lifecycle"] for node in simulation.nodes(AWS))
    assert kinds == {"on-demand": 2, "spot": 3}
    types = Counter(clouds.fabric.machine(node).metadata["instance_type"] for node in simulation.nodes(AWS))
    assert types == {"t3.small": 3, "m5.large": 2}, "on demand the first type, spot those that are fewest"
    on_demand = next(
        node for node in simulation.nodes(AWS) if clouds.fabric.machine(node).metadata["lifecycle"] == "on-demand"
    )
    with pytest.raises(CloudError, match="is not a spot instance"):
        simulation.interrupt(on_demand)
    with pytest.raises(CloudError, match="is not a spot instance"):
        simulation.rebalance(on_demand)
    clouds.delete(made["hook"])
    simulation.scale(AWS, 2)
    simulation.settle()
    simulation.step(121)
    kinds = Counter(clouds.fabric.machine(node).metadata["lifecycle"] for node in simulation.nodes(AWS))
    assert kinds == {"on-demand": 2}, "one, and a quarter of the other one rounded up"
    simulation.scale(AWS, 4)
    simulation.settle()
    clouds.update(made["scaling"], mixedInstancesPolicy=policy)
    simulation.scale(AWS, 3)
    simulation.settle()
    simulation.step(121)
    kinds = Counter(clouds.fabric.machine(node).metadata["lifecycle"] for node in simulation.nodes(AWS))
    assert kinds == {"on-demand": 1, "spot": 2}, "those of which there are too many go first"


def test_a_group_with_a_plain_template_launches_what_the_template_says(clouds: Harness) -> None:
    made = make_aws(clouds)
    clouds.update(made["template"], instanceType="t3.micro", instanceMarketOptions={"marketType": "spot"})
    reference: Value = {"name": "pool", "version": "2"}
    clouds.update(made["scaling"], mixedInstancesPolicy=None, launchTemplate=reference)
    simulation = Simulation(clouds, made)
    simulation.settle()
    metadata = clouds.fabric.machine(simulation.nodes(AWS)[0]).metadata
    assert (metadata["lifecycle"], metadata["instance_type"]) == ("spot", "t3.micro")


def test_what_a_cloud_does_not_do_is_refused_with_what_there_is(aws_pool: Simulation) -> None:
    with pytest.raises(CloudError, match=r"no group keeps a pool 'gpu'; pools with groups: aws-burst"):
        aws_pool.scale("gpu", 1)
    with pytest.raises(CloudError, match="New SetDesiredCapacity value 7 is above max value 6"):
        aws_pool.scale(AWS, 7)
    with pytest.raises(CloudError, match="New SetDesiredCapacity value 1 is below min value 2"):
        aws_pool.scale(AWS, 1)
    with pytest.raises(CloudError, match="no group has a member 'aws-1'; members: aws-burst-"):
        aws_pool.interrupt("aws-1")
    assert aws_pool.pool(AWS).desired == 2


def test_google_refuses_what_it_does_not_do(gcp_pool: Simulation) -> None:
    with pytest.raises(CloudError, match="Must be greater than or equal to 0"):
        gcp_pool.scale(GCP, -1)
    with pytest.raises(CloudError, match="recommends no rebalancing"):
        gcp_pool.rebalance(gcp_pool.nodes(GCP)[0])
    made = gcp_pool.made
    plain = described(made["gsubnet"].id, made["account"].text("email"))
    del plain["scheduling"]
    template = gcp_pool.clouds.make(made["gtemplate"].token, "plain", **plain)
    gcp_pool.clouds.update(made["manager"], versions=[{"instanceTemplate": template.id}])
    gcp_pool.scale(GCP, 3)
    gcp_pool.settle()
    with pytest.raises(CloudError, match="is not preemptible"):
        gcp_pool.interrupt(gcp_pool.nodes(GCP)[2])


def test_bounds_that_change_move_the_size_into_them(aws_pool: Simulation) -> None:
    group = aws_pool.clouds.update(aws_pool.made["scaling"], minSize=4)
    aws_pool.settle()
    assert len(aws_pool.nodes(AWS)) == 4
    group = aws_pool.clouds.update(group, minSize=1, maxSize=3)
    assert group.outputs["desiredCapacity"] == 3
    aws_pool.scale(AWS, 2)
    group = aws_pool.clouds.update(group, forceDelete=False)
    assert group.outputs["desiredCapacity"] == 2, "what somebody scaled stays"
    group = aws_pool.clouds.update(group, desiredCapacity=1)
    assert group.outputs["desiredCapacity"] == 1


def test_a_subnet_that_is_full_ends_no_step(clouds: Harness) -> None:
    made = make_aws(clouds)
    small = clouds.make(aws.SUBNET, "small", vpcId=made["vpc"].id, cidrBlock="10.60.0.64/28")
    clouds.update(made["scaling"], vpcZoneIdentifiers=[small.id], maxSize=20)
    simulation = Simulation(clouds, made)
    simulation.scale(AWS, 20)
    simulation.settle()
    assert simulation.phases(AWS) == {"in-service": 11}, "of 16 addresses Amazon keeps 5"
    simulation.end(simulation.nodes(AWS)[3])
    simulation.settle()
    assert simulation.phases(AWS) == {"in-service": 11}


def _group(world: World, name: str) -> Record:
    record = world.get(aws.SCALING_GROUP, name)
    assert record is not None
    return record

"""Addresses that the clouds hand out."""

from __future__ import annotations

import ipaddress

import pytest

from localcloud.provider.kind import CloudError
from localcloud.provider.pools import allocate, lowest
from localcloud.provider.world import World

POOL = ipaddress.IPv4Network("192.0.2.0/29")
"""Six host addresses."""


def test_an_address_is_given_again_only_after_all_others() -> None:
    world = World.empty()
    given = [allocate(world, POOL, [], "addresses") for _ in range(8)]
    assert given[:6] == [f"192.0.2.{n}" for n in range(1, 7)]
    assert given[6:] == given[:2]


def test_one_that_is_in_use_is_passed_over() -> None:
    world = World.empty()
    assert allocate(world, POOL, ["192.0.2.1", None, "192.0.2.2"], "addresses") == "192.0.2.3"


def test_a_pool_without_a_free_one_says_so() -> None:
    every = [str(address) for address in POOL.hosts()]
    with pytest.raises(CloudError, match=r"no addresses left in 192\.0\.2\.0/29: 6 are in use"):
        allocate(World.empty(), POOL, every, "addresses")


def test_a_subnets_lowest_free_address_leaves_out_what_the_cloud_keeps() -> None:
    assert lowest(POOL, 4, ["192.0.2.4"]) == "192.0.2.5"
    assert lowest(POOL, 4, ["192.0.2.4", "192.0.2.5", "192.0.2.6"]) is None, "the last one is for broadcasts"

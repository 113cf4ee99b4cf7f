"""The baseline is what the program is compared with, so both must register the same resources."""

from collections import Counter
from pathlib import Path

import pytest

from bench.previews import Comparison, UnequalError, kinds, providers


def test_kinds_take_components_and_dynamic_resources_for_one_kind_each() -> None:
    found = kinds(
        [
            "urn:pulumi:dev::p::hybrid-wireguard:index:WgSpoke::aws-1",
            "urn:pulumi:dev::p::by-hand:index:Site::aws",
            "urn:pulumi:dev::p::by-hand:index:Site$tls:index/privateKey:PrivateKey::key",
            "urn:pulumi:dev::p::pulumi-python:dynamic/hybrid-wireguard:Roster::roster",
        ]
    )
    assert found == Counter({"component": 2, "tls:index/privateKey:PrivateKey": 1, "dynamic resource": 1})


def test_the_baseline_registers_as_many_of_each_kind_as_the_program(tmp_path: Path) -> None:
    with providers(tmp_path / "world") as attached:
        comparison = Comparison(tmp_path, attached)
        assert comparison.check_equal(3) > 40


def test_programs_that_register_different_resources_are_not_compared(tmp_path: Path) -> None:
    class Unlike(Comparison):
        def ours(self, count: int) -> tuple[float, Counter[str]]:
            return 1.0, Counter({"component": count + 1})

        def by_hand(self, count: int) -> tuple[float, Counter[str]]:
            return 1.0, Counter({"component": count})

    with pytest.raises(UnequalError, match="ours has more"):
        Unlike(tmp_path, "").check_equal(1)

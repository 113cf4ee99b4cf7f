"""What nodes say of themselves: the newest holds, and a link is one when both ends say so."""

from __future__ import annotations

from random import Random

import pytest

from node.gateway.reports import Reports
from node.network_words import Report


def test_a_link_is_active_while_both_ends_name_each_other() -> None:
    reports = Reports()
    assert reports.take([Report("a", 1, "gw", ("b", "c"))]) == {"a"}, "nobody knew where it hangs"
    assert reports.pairs() == []
    assert reports.take([Report("b", 1, "gw", ("a",))]) == {"a", "b"}
    assert reports.pairs() == [["a", "b"]]
    assert reports.links_of("a") == reports.links_of("b") ^ {"a", "b"} == {"b"}
    assert reports.take([Report("b", 2, "gw", ())]) == {"a", "b"}
    assert reports.pairs() == []


def test_an_older_report_is_passed_over_and_an_equal_one_changes_nothing() -> None:
    reports = Reports()
    reports.take([Report("a", 5, "gw-1")])
    version = reports.version
    assert reports.take([Report("a", 4, "gw-2"), Report("a", 5, "gw-2")]) == set()
    assert (reports.version, reports.gateways()) == (version, {"a": "gw-1"})
    assert reports.take([Report("a", 6, "gw-1", ("b",))]) == set(), "nothing that others have to follow"
    assert reports.version != version
    assert reports.take([Report("a", 7, "gw-2", ("b",))]) == {"a"}


def test_who_is_forgotten_takes_its_links_with_it() -> None:
    reports = Reports()
    reports.take([Report("a", 1, "gw", ("b",)), Report("b", 1, "gw", ("a",))])
    reports.keep({"b"})
    assert (reports.all().keys(), reports.pairs()) == ({"b"}, [])
    reports.take([Report("a", 1, "gw", ("b",))])
    assert reports.pairs() == [["a", "b"]], "it is new again, with whatever stamp"


def test_nobody_has_a_link_with_itself() -> None:
    reports = Reports()
    reports.take([Report("a", 1, "gw", ("a",))])
    assert reports.pairs() == []


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_reports_come_the_same_links_are_active(seed: int) -> None:
    chance, names = Random(seed), "abcdef"
    said = [
        Report(chance.choice(names), stamp, "gw", tuple(chance.sample(names, chance.randint(0, 5))))
        for stamp in range(1, 40)
    ]
    newest = {report.name: report for report in said}
    expected = sorted(
        [one, other]
        for one in newest
        for other in newest
        if one < other and other in newest[one].links and one in newest[other].links
    )
    found: list[list[list[str]]] = []
    for _ in range(3):
        reports = Reports()
        chance.shuffle(said)
        for report in said:
            reports.take([report])
        found.append(reports.pairs())
    assert found == [expected] * 3

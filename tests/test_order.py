"""Each process of xdist gets long tests first, and no test is lost or runs twice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.order import dealt


def item_of(file: str, number: int, *fixtures: str) -> Any:
    return SimpleNamespace(nodeid=f"tests/{file}.py::test_{number}", path=Path(f"{file}.py"), fixturenames=fixtures)


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
def test_each_test_is_dealt_once_and_the_long_ones_come_first(processes: int) -> None:
    short = [item_of("test_short", number) for number in range(101)]
    long = [item_of("test_web_killed", number) for number in range(2 * processes)]
    hello = [item_of("test_hello", number) for number in range(3)]
    pages = [item_of("test_pages", number, "browser") for number in range(9)]
    items = [*short[:60], *hello, *long, *pages, *short[60:]]
    order = dealt(items, processes)
    assert sorted(item.nodeid for item in order) == sorted(item.nodeid for item in items)
    left = list(order)
    for process in range(processes):
        part = [left.pop(0) for _ in range(len(left) // (processes - process))]
        lengths = [item in short for item in part]
        assert lengths == sorted(lengths)
        assert not part or part[0] not in short
        for together in (hello, pages):
            assert len([item for item in part if item in together]) in (0, len(together))

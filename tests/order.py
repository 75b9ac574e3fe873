"""Order the tests for xdist, which gives each of its processes one part of the list."""

from collections import defaultdict

import pytest

# Duration of each long test in seconds on a quiet machine, by the name of its function or of its file.
_SECONDS = {
    "test_on_postgresql": 30.0, "test_many_lives": 8.0, "test_every_shilling_is_in_one_place": 5.0,
    "test_the_api_keeps_its_own_description": 5.0,
    "test_the_page_s_own_commands_end_in_a_match_through_nginx_with_tls": 40.0,
    "test_killed_collectors": 8.0, "test_web_killed": 6.0, "test_crash": 5.0, "test_game_worker": 5.0,
    "test_make_run": 3.0, "test_database_limits": 2.5, "test_hello": 4.0, "test_api_server": 0.3, "test_nginx": 1.0,
    "test_leases": 2.0, "test_listener": 6.0, "test_maintenance": 4.0, "test_outages": 6.0, "test_survival": 2.0,
    "test_worker": 3.0, "test_tasks": 4.0, "test_adopting": 2.0, "test_simulation": 4.5, "test_rule_lives": 1.5,
}  # fmt: skip
# Files whose tests share a setup that takes seconds. One process runs all tests of such a file. One process runs all
# tests with a browser.
_TOGETHER = {"test_make_run", "test_database_limits", "test_hello", "test_api_server", "test_nginx"}
_SECONDS_WITH_A_BROWSER = 1.5


def dealt(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the tests in one part of equal size per process. Each part starts with its share of the long tests, so
    that none of them runs alone at the end.
    """
    long: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    seconds: defaultdict[str, float] = defaultdict(float)
    rest = []
    for item in items:
        name, file = item.nodeid.partition("[")[0].rpartition("::")[2], item.path.stem
        takes = _SECONDS.get(name) or _SECONDS.get(file)
        together = file if file in _TOGETHER else item.nodeid
        if "browser" in getattr(item, "fixturenames", ()):
            takes, together = _SECONDS_WITH_A_BROWSER, "browser"
        if takes:
            long[together].append(item)
            seconds[together] += takes
        else:
            rest.append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(processes)]
    ends = [0.0] * processes
    for together, takes in sorted(seconds.items(), key=lambda entry: -entry[1]):
        first = ends.index(min(ends))
        ends[first] += takes
        parts[first] += long[together]
    for index, part in enumerate(parts):
        # The size of a part as xdist computes it.
        size = (len(items) - sum(map(len, parts[:index]))) // (processes - index)
        missing = max(size - len(part), 0)
        part += rest[:missing]
        del rest[:missing]
    return [item for part in parts for item in part] + rest

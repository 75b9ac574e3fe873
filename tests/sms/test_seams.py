"""Time, threads and sockets are used only through `sms.clock` and `sms.runtime`. Only the engine uses libcurl."""

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sms import clock

ROOT = Path(__file__).parents[2] / "sms"
# Not replaced by the simulation, which replaces the whole function `blocking.post` above it.
BELOW = {"dmark/total_timeout.py"}
FORBIDDEN = {"time", "threading", "queue", "selectors", "concurrent", "asyncio", "socket", "pycurl", "multiprocessing"}
# Allowed imports of each module: names that do not wait, start a thread or read a clock.
ALLOWED = {
    # the simulation replaces `pycurl.Curl` and `pycurl.CurlMulti`
    "worker/engine/transfer.py": {"pycurl"},
    "worker/engine/loop.py": {"pycurl", "selectors"},
    "worker/worker.py": {"selectors"},
    "worker/waker.py": {"selectors", "socket"},  # types
    "worker/recorder.py": {"socket"},  # the name of this machine
    "worker/background.py": {"socket"},  # shuts down the database's socket
    "dmark/access_token.py": {"concurrent"},  # type hint
}
MODULES = [path for package in ("worker", "sending", "dmark") for path in sorted((ROOT / package).rglob("*.py"))]
CALLS = {
    "timezone.now",
    "datetime.now",
    "datetime.utcnow",
    "selectors.DefaultSelector",
}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_clock_sleep_or_thread_besides_the_seam(path: Path) -> None:
    name, tree = str(path.relative_to(ROOT)), ast.parse(path.read_text())
    if name in BELOW:
        return
    assert set(imported(tree)) & FORBIDDEN <= ALLOWED.get(name, set())
    assert not {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} & CALLS


# The sandbox stands for another machine. An alert about an unavailable database cannot read that database's clock.
MACHINE_CLOCK = {"clock.py", "alerts.py"}


def test_times_are_read_from_the_databases_clock() -> None:
    """These times are compared with times from other machines."""
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name not in MACHINE_CLOCK and not name.startswith("sandbox/"):
            calls = {
                ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
            }
            assert not calls & {"timezone.now", "datetime.now", "datetime.utcnow"}, name


def test_the_monotonic_clock_counts_the_time_of_a_suspension(monkeypatch: Any) -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system has no such clock")
    clocks = SimpleNamespace(clock_gettime=lambda which: float(which), monotonic=lambda: -1.0)
    monkeypatch.setattr(clock, "_time", clocks)
    assert clock.Clock().monotonic() == time.CLOCK_BOOTTIME

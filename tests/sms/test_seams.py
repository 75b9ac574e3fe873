"""Time, threads, sleeping, sockets and libcurl are used through `sms.clock`, `sms.runtime` and `transport` only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "sms"
# The blocking driver and its total timeout are below the seam: the simulation replaces `blocking.post`.
BELOW = {"dmark/total_timeout.py"}
FORBIDDEN = {"time", "threading", "queue", "selectors", "concurrent", "asyncio", "socket", "pycurl", "multiprocessing"}
# Module: names that do not wait, start or measure anything.
ALLOWED = {
    "worker/engine/transport.py": {"pycurl"},  # the seam
    "worker/engine/transfer.py": {"pycurl"},  # its constants
    "worker/engine/loop.py": {"pycurl", "selectors"},
    "worker/worker.py": {"selectors"},
    "worker/waker.py": {"socket"},  # a type
    "worker/heartbeat.py": {"socket"},  # the name of this machine
    "worker/statement_timeout.py": {"socket"},  # shuts down the database's socket
    "dmark/access_token.py": {"concurrent"},  # a type
}
MODULES = [path for package in ("worker", "sending", "dmark") for path in sorted((ROOT / package).rglob("*.py"))]
CALLS = {
    "timezone.now",
    "datetime.now",
    "datetime.utcnow",
    "pycurl.Curl",
    "pycurl.CurlMulti",
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
    if name != "worker/engine/transport.py":
        assert not {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} & CALLS


# The sandbox is another machine. An alert about a database that is down cannot ask that database.
MACHINE_CLOCK = {"clock.py", "alerts.py"}


def test_times_are_read_from_the_databases_clock() -> None:
    """They are compared with times that other machines have stored."""
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name not in MACHINE_CLOCK and not name.startswith("sandbox/"):
            calls = {
                ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
            }
            assert not calls & {"timezone.now", "datetime.now", "datetime.utcnow"}, name

"""Imports run one way: between the apps, and between the rooms of `sms`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"sms", "payments", "game", "playmatatu"}
# What each room of `sms` may import beside the errors, the settings and its own files; `worker` and `console` are at
# the end of the ways, so nobody but the commands and the admin knows them.
ROOMS: dict[str, set[str]] = {
    "text": set(),
    "dmark": {"text", "cache"},
    "sending": {"dmark", "text", "models", "signals", "cache", "owners"},
    "dlr": {"dmark", "text", "models", "signals"},
    "stats": {"models"},
    # Beside what these two share, below.
    "worker": {"alerts"},
    "console": {"clicks"},
}
for _room in ("worker", "console"):
    ROOMS[_room] |= {"sending", "dlr", "stats", "dmark", "text", "models", "signals", "outbox", "cache", "owners"}
ALWAYS = {"conf", "errors", "clock", "__version__"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("app", "allowed"), [("sms", {"sms"}), ("payments", {"payments"}), ("game", {"game", "payments", "sms"})]
)
def test_one_way(app: str, allowed: set[str]) -> None:
    files = list((ROOT / app).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            assert name.split(".")[0] not in OURS - allowed, f"{path} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_of_sms(room: str) -> None:
    files = list((ROOT / "sms" / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            if name.startswith("sms."):
                known = name.split(".")[1]
                assert known in {room} | ROOMS[room] | ALWAYS, f"{path} imports {name}"


@pytest.mark.parametrize("room", ["text", "dmark"])
def test_values_and_the_conversation_know_no_database(room: str) -> None:
    for path in (ROOT / "sms" / room).rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("django.db"), f"{path} imports {name}"


def test_the_other_apps_import_the_top_of_sms_alone() -> None:
    for app in ("game", "playmatatu"):
        for path in (ROOT / app).rglob("*.py"):
            for name in imports(path):
                if name.startswith("sms."):
                    parts = name.split(".")
                    assert len(parts) <= 3, f"{path} imports {name}: take it from the room's own surface"
                    assert parts[1] not in ("worker", "console", "sandbox", "sending", "dmark"), f"{path}: {name}"


def test_the_sandbox_is_imported_by_its_command_and_for_tests_alone() -> None:
    for path in (ROOT / "sms").rglob("*.py"):
        if "sandbox" not in path.parts and path.name not in ("dmark_sandbox.py", "testing.py", "pytest_plugin.py"):
            assert "sms.testing" not in path.read_text(), path
            assert "sms.sandbox" not in path.read_text(), path


@pytest.mark.parametrize(
    ("room", "allowed"), [("rules", {"rules"}), ("api", {"rules", "api"}), ("pages", {"rules", "pages"})]
)
def test_pages_api_and_rules_of_the_game_are_apart(room: str, allowed: set[str]) -> None:
    for path in (ROOT / "game" / room).rglob("*.py"):
        for name in imports(path):
            if name.startswith("game."):
                assert name.split(".")[1] not in {"rules", "api", "pages"} - allowed, f"{path} imports {name}"

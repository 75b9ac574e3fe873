"""Imports run one way: playmatatu → game → {payments, sms}."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"sms", "payments", "game", "playmatatu"}


@pytest.mark.parametrize(
    ("app", "allowed"), [("sms", {"sms"}), ("payments", {"payments"}), ("game", {"game", "payments", "sms"})]
)
def test_one_way(app: str, allowed: set[str]) -> None:
    files = list((ROOT / app).rglob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] not in OURS - allowed, f"{path} imports {name}"


def test_the_sandbox_is_imported_by_its_command_alone() -> None:
    for path in (ROOT / "sms").rglob("*.py"):
        if "sandbox" not in path.parts and path.name != "dmark_sandbox.py":
            assert "sms.sandbox" not in path.read_text(), path

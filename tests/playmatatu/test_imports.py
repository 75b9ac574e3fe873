"""Imports run in one direction, between the apps and inside `sms`. pyproject.toml contains the rules."""

import re
import sys
from pathlib import Path

import pytest
from importlinter import configuration
from importlinter.application import use_cases

ROOT = Path(__file__).parents[2]


def test_the_contracts_hold(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    configuration.configure()
    # importlinter.cli.lint_imports would also disable all loggers of this process.
    holds = use_cases.lint_imports(config_filename="pyproject.toml", cache_dir=None)
    assert holds, capsys.readouterr().out


@pytest.mark.parametrize("package", ["text", "dmark"])
def test_values_and_protocol_do_not_touch_the_database(package: str) -> None:
    for path in (ROOT / "sms" / package).rglob("*.py"):
        assert "django.db" not in path.read_text(), path


def test_the_rules_about_money_are_pure() -> None:
    for path in (ROOT / "payments" / "rules").rglob("*.py"):
        assert not re.search(r"^\s*(?:from|import) (?:django|time|payments\.(?!rules))", path.read_text(), re.M), path

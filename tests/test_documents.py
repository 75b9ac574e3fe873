"""Test that the documents name every command, check, banner and app, and no file that does not exist."""

import re
import runpy
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import get_commands

from sms.errors import Trouble

ROOT = Path(__file__).parents[1]
OURS = ("sms", "payments", "game", "playmatatu")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def sources() -> str:
    return "".join(path.read_text() for app in OURS for path in sorted((ROOT / app).rglob("*.py")))


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`([\w./-]+(?:/|\.\w+))`", read("CONTRIBUTING.md"))
    assert len(named) > 25
    for name in named:
        assert (ROOT / name).exists() or name == "management/commands/", f"CONTRIBUTING.md names {name}"


def test_contributing_names_functions_that_their_files_have() -> None:
    text = read("CONTRIBUTING.md")
    places = re.findall(r"((?:`\w+`(?:, | and )?)+) in `([\w./]+\.py)`", text)
    places += [(names, file) for file, names in re.findall(r"`([\w./]+\.py)` \((`\w+`)\)", text)]
    assert len(places) >= 40
    for names, file in places:
        for name in re.findall(r"\w+", names.replace(" and ", " ")):
            assert re.search(rf"\b{name}\b", read(file)), f"CONTRIBUTING.md names {name} in {file}"


def test_contributing_leads_to_each_module() -> None:
    """A module is named itself, or its folder is named. The files that Django prescribes need no row."""
    named = re.findall(r"`([\w./]+)`", read("CONTRIBUTING.md") + read("docs/architecture.md"))
    prescribed = {"__init__.py", "apps.py", "models.py", "urls.py", "signals.py"}
    for app in OURS:
        for path in sorted((ROOT / app).rglob("*.py")):
            module = str(path.relative_to(ROOT))
            if path.name not in prescribed and "migrations" not in path.parts and "commands" not in path.parts:
                folders = (name for name in named if name.count("/") > 1 and name.endswith("/"))
                assert module in named or module.startswith(tuple(folders)), f"no document names {module}"


def test_each_command_is_in_the_readme() -> None:
    ours = {name for name, app in get_commands().items() if app in OURS}
    assert len(ours) >= 7
    assert {name for name in ours if f"manage.py {name}" not in read("README.md")} == set()


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/production.md"])
def test_each_check_is_in_the_documents(page: str) -> None:
    ids = set(re.findall(r'id="((?:sms|payments|game|playmatatu)\.[EW]\d+)"', sources()))
    assert len(ids) > 15
    # An id may also be shortened, as in `sms.W004, W005`.
    told = set(re.findall(r"(?:\w+\.)?[EW]\d{3}", read(page)))
    assert {one for one in ids if one not in told and one.split(".")[1] not in told} == set()


def test_each_check_has_an_id_of_its_own() -> None:
    ids = re.findall(r'id="(\w+\.[EW]\d+)"', sources())
    assert sorted(ids) == sorted(set(ids))


def test_each_banner_leads_to_its_paragraph() -> None:
    paragraphs = set(re.findall(r'<a id="(\w+)">', read("docs/troubleshooting.md")))
    # The names of some banners are values of the enum Trouble. The other names are in the source.
    concerns = re.findall(r'Concern\(\s*f?"(\w+)', read("sms/stats/status.py") + read("sms/stats/by_network.py"))
    own = re.findall(r'^ +"([a-z_]+)",$|, "([a-z]+)"[,)]', read("sms/console/banners.py"), re.MULTILINE)
    named = [*concerns, *(trouble.value for trouble in Trouble if trouble), *("".join(pair) for pair in own)]
    assert {"cache", "token_path", "network", "failed"} <= set(named)
    named = [name for name in named if name != "warning"]
    assert set(named) <= paragraphs
    assert len(paragraphs) >= 12


def test_each_text_has_its_kind_and_each_kind_its_text() -> None:
    kinds = {path.stem for path in (ROOT / "game" / "templates" / "game" / "sms").glob("*.txt")}
    used = set(re.findall(r'"([a-z_]+)"', sources()))
    assert kinds
    assert kinds <= used


def test_each_app_is_named_in_the_readme() -> None:
    for config in apps.get_app_configs():
        if config.name in OURS:
            assert f"{config.name}/" in read("README.md")


def test_the_diagrams_are_current() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "diagrams.py"))
    for path, text in script["pages"]().items():
        assert path.read_text() == text, "run python docs/diagrams.py"


@pytest.mark.parametrize("page", ["architecture", "production", "troubleshooting", "sms-app"])
def test_files_that_a_document_names_exist(page: str) -> None:
    for name in re.findall(r"`((?:sms|game|payments|playmatatu|tests|deploy)/[\w./-]+)`", read(f"docs/{page}.md")):
        assert (ROOT / name).exists(), name


def test_each_tag_of_a_document_is_a_version() -> None:
    versions = set(re.findall(r"^## (\d+\.\d+\.\d+)", read("CHANGELOG.md"), re.MULTILINE))
    documents = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    tags = {tag for page in documents for tag in re.findall(r"\bv(\d+\.\d+\.\d+)\b", page.read_text())}
    assert tags
    assert tags <= versions

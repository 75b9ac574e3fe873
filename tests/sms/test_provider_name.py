"""The name of the provider appears only in `sms.dmark` and in one constant.

A second provider would be a second package.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sms import conf

ROOT = Path(__file__).parents[2]
# Left out: the fake of the provider, and migrations, whose old names must not change.
APART = ("sms/dmark/", "sms/sandbox/", "sms/migrations/", "sms/management/commands/dmark_sandbox.py")


def sentences(path: Path) -> Iterator[str]:
    """Yield the string constants of a module, without docstrings."""
    tree = ast.parse(path.read_text())
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, bodies) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_sentence_elsewhere_names_the_provider() -> None:
    naming = []
    for path in sorted((ROOT / "sms").rglob("*")):
        name = str(path.relative_to(ROOT))
        if name.startswith(APART):
            continue
        if path.suffix == ".py":
            naming += [(name, text) for text in sentences(path) if conf.PROVIDER in text]
        elif path.suffix in (".html", ".txt") and conf.PROVIDER in path.read_text():
            naming.append((name, ""))
    assert naming == [("sms/conf.py", conf.PROVIDER)]


# Words of this project, which the reusable app must not contain.
OURS = re.compile(r"\b(stakes?|match(es)?|players?|PlayMatatu|refunds?|REDIS_URL|DATABASE_URL|FRONTEND_URL|make run)\b")


def test_no_sentence_names_this_projects_game_or_settings() -> None:
    naming = [
        (str(path.relative_to(ROOT)), text)
        for path in sorted((ROOT / "sms").rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(("sms/sandbox/", "sms/migrations/"))
        for text in sentences(path)
        if OURS.search(text)
    ]
    naming += [(path.name, "") for path in (ROOT / "sms/templates").rglob("*.html") if OURS.search(path.read_text())]
    assert naming == []

"""Write the diagrams of docs/architecture.md from the code: `python docs/diagrams.py`. A test compares them."""

import re
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
APPS = ("playmatatu", "game", "payments", "sms")
# Modules that most others import, or that only Django looks up. Arrows to them would hide the rest.
LEFT_OUT = {"conf", "errors", "apps", "urls", "signals", "checks", "clock", "templatetags", "migrations", "management"}
LEFT_OUT |= {"models", "admin", "testing"}


def _box(module: str) -> str:
    """The package of an app that a module belongs to, as in `sms.dmark`; `playmatatu` is one box."""
    parts = module.split(".")
    return parts[0] if parts[0] == "playmatatu" else ".".join(parts[:2])


def imports() -> str:
    """A Mermaid flowchart of the packages. An arrow means "imports"; an arrow that others imply is left out."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph(*APPS, cache_dir=None)
    edges: dict[str, set[str]] = {}
    for module in graph.modules:
        if LEFT_OUT & set(module.split(".")[1:]) or module in APPS:
            continue
        known = edges.setdefault(_box(module), set())
        for name in graph.find_modules_directly_imported_by(module):
            if name not in APPS and not LEFT_OUT & set(name.split(".")[1:]) and _box(name) != _box(module):
                known.add(_box(name))
    lines = ["flowchart TD"]
    for app in APPS:
        boxes = sorted(box for box in edges if box.split(".")[0] == app)
        lines += [f"    subgraph {app}", *(f"        {box}[{box.rpartition('.')[2]}]" for box in boxes), "    end"]
    for box in sorted(edges):
        direct = {name for name in edges[box] if not any(_reaches(edges, other, name) for other in edges[box] - {name})}
        lines += [f"    {box} --> {name}" for name in sorted(direct)]
    return "\n".join(lines)


def _reaches(edges: dict[str, set[str]], start: str, goal: str) -> bool:
    seen, waiting = set(), [start]
    while waiting:
        for name in edges.get(waiting.pop(), ()):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def page() -> str:
    """docs/architecture.md with its generated blocks renewed."""
    block = f"<!-- imports -->\n```mermaid\n{imports()}\n```\n<!-- end -->"
    return re.sub(r"<!-- imports -->.*?<!-- end -->", lambda _: block, PAGE.read_text(), flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page())

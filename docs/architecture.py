"""Draws docs/architecture.svg from the imports: `python docs/architecture.py`. A test holds that it is current.

A box is an app, a room of one, or a file on top of one. Each stands above all that it imports; a line that other lines
make already is left out.
"""

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
APPS = ("playmatatu", "game", "payments", "sms")
# Files on top that everything may use, or that only Django looks for: lines to them would hide the others.
_EVERYWHERE = {
    "conf",
    "errors",
    "apps",
    "urls",
    "signals",
    "checks",
    "clock",
    "templatetags",
    "migrations",
    "management",
}
_WIDTH, _BOX, _HEIGHT, _GAP_X, _GAP_Y = 1200, 132, 34, 14, 40

Graph = dict[str, set[str]]


def boxes(module: str) -> str:
    """`sms.dmark.responses` → `sms.dmark`; `game.rules.codes` → `game.rules`; `playmatatu` is one."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] != "playmatatu" else parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read() -> Graph:
    graph: Graph = {}
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            if len(relative.parts) < 2 or relative.parts[1] in _EVERYWHERE | {"__init__"}:
                continue
            box = boxes(".".join(relative.parts))
            known = graph.setdefault(box, set())
            for name in imports(path):
                parts = name.split(".")
                if (
                    parts[0] in APPS
                    and len(parts) > 1
                    and parts[1] not in _EVERYWHERE
                    and not parts[1].startswith("__")
                ):
                    known.add(boxes(name))
    for box, known in graph.items():
        known.discard(box)
        known &= graph.keys()
    return graph


def merged(graph: Graph) -> Graph:
    """Boxes that lead to each other are one, named by all of them."""
    reach = {box: _reached(graph, box) for box in graph}
    names = {box: " ".join(sorted({box} | {to for to in reach[box] if box in reach[to]})) for box in graph}
    return {
        names[box]: {names[to] for same in names[box].split(" ") for to in graph[same]} - {names[box]} for box in graph
    }


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    todo = [*graph[start]]
    while todo:
        if (box := todo.pop()) not in seen:
            seen.add(box)
            todo += graph[box]
    return seen


def floors(graph: Graph) -> dict[str, int]:
    """Each box one floor above the highest that it imports."""
    found: dict[str, int] = {}

    def floor(box: str) -> int:
        if box not in found:
            found[box] = max((floor(to) + 1 for to in graph[box]), default=0)
        return found[box]

    for box in sorted(graph):
        floor(box)
    return found


def direct(graph: Graph) -> Graph:
    """Without the lines that others make already."""
    return {
        box: {to for to in known if not any(to in _reached(graph, other) for other in known - {to})}
        for box, known in graph.items()
    }


def draw() -> str:
    graph = merged(read())
    level = floors(graph)
    top = max(level.values())
    places: dict[str, tuple[float, float]] = {}
    for number in range(top + 1):
        row = sorted(box for box in graph if level[box] == number)
        for index, box in enumerate(row):
            x = _WIDTH / 2 + (index - (len(row) - 1) / 2) * (_BOX + _GAP_X)
            places[box] = (x, 24 + (top - number) * (_HEIGHT + _GAP_Y))
    height = 24 + top * (_HEIGHT + _GAP_Y) + _HEIGHT + 24
    out = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
            'font-size="12">'
        ),
        "<title>What imports what: each box stands above all that it imports</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for box, known in sorted(direct(graph).items()):
        for to in sorted(known):
            (x1, y1), (x2, y2) = places[box], places[to]
            middle = (y1 + _HEIGHT + y2) / 2
            way = f"M{x1:g} {y1 + _HEIGHT:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
            out.append(f'<path d="{way}" fill="none" stroke="#8a94a6"/>')
    colours = {"playmatatu": "#e8dff5", "game": "#dcefdc", "payments": "#fdf0d0", "sms": "#dbe9f9"}
    for box, (x, y) in sorted(places.items()):
        app = box.split(".")[0]
        words = box if " " not in box else f"{app}: " + ", ".join(name.split(".")[1] for name in box.split(" "))
        short = words if len(words) <= 20 else words[:19] + "…"
        size = f'x="{x - _BOX / 2:g}" y="{y:g}" width="{_BOX}" height="{_HEIGHT}" rx="6"'
        out += [
            f'<g><title>{escape(words)}</title><rect {size} fill="{colours[app]}" stroke="#5b6577"/>',
            f'<text x="{x:g}" y="{y + 21:g}" text-anchor="middle">{escape(short)}</text></g>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw())

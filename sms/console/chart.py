"""Draw a stacked bar chart as SVG on the server, without JavaScript. The colors are in `console.css`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 190, 44, 12, 10, 22


class Column(NamedTuple):
    """One column of the chart. `name`: title of its tooltip. `values`: numbers by the key of their series."""

    label: str
    name: str
    values: Mapping[str, int]


def bars(title: str, columns: Sequence[Column], series: Sequence[tuple[str, str]]) -> SafeString:
    """Return the chart as SVG. `series`: (key, name) pairs from bottom to top. The key is also the CSS class."""
    top = _round_up(max([sum(column.values.values()) for column in columns] or [0]))
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(columns), 1)
    height = _HEIGHT - _TOP - _BOTTOM
    shapes: list[SafeString] = []
    for share in (0, 0.5, 1):
        y = _TOP + height * (1 - share)
        shapes.append(
            format_html(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{}" class="scale">{}</text>',
                _LEFT, _WIDTH, y, y, _LEFT - 5, y + 4, _short(top * share),
            )
        )  # fmt: skip
    for number, column in enumerate(columns):
        x, y = _LEFT + step * number, float(_TOP + height)
        parts = []
        for key, _name in series:
            size = height * column.values.get(key, 0) / top
            if size:
                # Draw each bar at least 1.5 units high, so that one failure among thousands of messages is visible.
                size = max(size, 1.5)
                y -= size
                parts.append((key, f"{x + step * 0.1:.1f}", f"{max(y, 0):.1f}", f"{step * 0.8:.1f}", f"{size:.1f}"))
        tooltip = ", ".join(f"{column.values[key]} {name}" for key, name in series if column.values.get(key))
        shapes.append(
            format_html(
                '<g><title>{}: {}</title><rect class="hit" x="{}" y="{}" width="{}" height="{}"/>{}</g>',
                column.name,
                tooltip or "none",
                f"{x:.1f}",
                _TOP,
                f"{step:.1f}",
                height,
                format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', parts),
            )
        )
        if column.label:
            shapes.append(
                format_html(
                    '<text class="label" x="{}" y="{}">{}</text>', f"{x + step / 2:.1f}", _HEIGHT - 6, column.label
                )
            )
    return format_html(
        '<svg class="sms-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        _WIDTH,
        _HEIGHT,
        title,
        format_html_join("", "{}", ((shape,) for shape in shapes)),
    )


def _round_up(number: int) -> int:
    """Return the smallest round even number that is at least `number`: 2, 4, 10, 20, 40, 50, 100 …"""
    size = 1
    while True:
        for factor in (2, 4, 5, 10):
            if factor * size >= number and factor * size % 2 == 0:
                return factor * size
        size *= 10


def _short(number: float) -> str:
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"

"""What a player is told: English for the API; on a page its language, and separators in amounts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` is found by gettext; `values` fill its placeholders."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text % self.values if self.values else self.text

    def translated(self) -> str:
        text = gettext(self.text)
        shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in self.values.items()}
        return text % shown if shown else text

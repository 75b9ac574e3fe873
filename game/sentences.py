"""What a player is told: English for the API, the page's language for a page."""

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
        return text % self.values if self.values else text

"""What a player may write: a display name, without anything that is no character."""

import unicodedata

MAX_NAME = 50


def has_control(text: str) -> bool:
    """Whether the text holds NUL, another control character, or a lone surrogate."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)

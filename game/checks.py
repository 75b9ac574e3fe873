"""System checks of the game's settings."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register
def game_url(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    address = settings.GAME_URL
    if not address or (
        urlsplit(address).scheme in ("http", "https") and all(name in address for name in ("{token}", "{pt}"))
    ):
        return []
    return [
        Error(
            "GAME_URL leads no player to their match.",
            hint="It needs a scheme, {token} and {pt}: https://cards.example.com/g/{token}?pt={pt}",
            id="game.E001",
        )
    ]

"""Helpers that use the pages without a browser."""

import html
from typing import Any

from django.test import Client

from tests.game_helpers import ALICE


def fill(client: Client, **fields: str) -> Any:
    """Submit the stake form."""
    return client.post("/", {"phone_number": ALICE, "stake_amount": "1000", "opponent": "anyone"} | fields)


def own(client: Client, more: str = "") -> str:
    """Return the URL of this browser's newest stake."""
    return str(client.get("/waiting")["Location"]) + more


def shown(client: Client, path: str = "", **headers: str) -> str:
    """Return the visible text of the page of this browser's newest stake, or of `path`."""
    response = client.get(path or own(client), headers=headers)
    assert response.status_code == 200, response
    return html.unescape(response.content.decode()).replace("\u00a0", " ")


def cancel(client: Client) -> Any:
    """Cancel this browser's newest stake."""
    return client.post(own(client, "/cancel"), follow=True)

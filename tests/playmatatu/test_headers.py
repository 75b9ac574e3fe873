"""Response headers for browsers and caches, and the redirect to https."""

from typing import Any

import pytest
from django.test import Client

from tests.game_helpers import ALICE, BOB, stake

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/openapi.json", "/api/nothing", "/nothing", "/admin/login/"])
def test_every_answer_limits_what_a_browser_may_do(client: Client, path: str) -> None:
    answer = client.get(path)
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
    assert "camera=()" in answer["Permissions-Policy"]
    assert "clipboard" not in answer["Permissions-Policy"]  # The game page copies its code to the clipboard.


@pytest.mark.parametrize(
    "path",
    ["/api/docs", "/api/openapi.json", "/api/", "/api/nothing", "/api/v1/nothing", "/nothing", "/g/x", "/sms/dlr/1.x/"],
)
def test_no_cache_stores_the_docs_or_an_error(client: Client, path: str) -> None:
    assert "no-store" in client.get(path)["Cache-Control"]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/g/abc?pt=secret", "/g/abc"),
        ("/g/abc?a=1&pt=secret&b=", "/g/abc?a=1&b="),
        ("/api/v1/game/queue/status?queue_token=secret", "/api/v1/game/queue/status"),
        ("/?match_code=ABC234", "/?match_code=ABC234"),
        ("/g/abc?a=%2F%C3%A9", "/g/abc?a=%2F%C3%A9"),
        ("/g/abc", "/g/abc"),
    ],
)
def test_the_redirect_to_https_repeats_no_credential(client: Client, settings: Any, path: str, target: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = client.get(path)
    assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{target}")


def test_a_link_opened_over_http(client: Client, settings: Any) -> None:
    stake(client, ALICE, display_name="Achieng")
    link = stake(client, BOB, display_name="Babirye")["game_link"].removeprefix(settings.FRONTEND_URL)
    settings.SECURE_SSL_REDIRECT = True
    client = Client()  # A new client, because the setting is read at its first request.
    page = client.get(client.get(link)["Location"].removeprefix("https://testserver"), secure=True)
    assert page.status_code == 200
    assert "1,000 UGX" in page.content.decode()
    assert "Achieng" not in page.content.decode()
    assert "Achieng" in client.get(client.get(link, secure=True)["Location"], secure=True).content.decode()


@pytest.mark.parametrize(
    ("subdomains", "preload", "header"),
    [
        (False, False, "max-age=600"),
        (True, False, "max-age=600; includeSubDomains"),
        (True, True, "max-age=600; includeSubDomains; preload"),
    ],
)
def test_hsts_covers_the_configured_hosts(
    client: Client, settings: Any, subdomains: bool, preload: bool, header: str
) -> None:
    settings.SECURE_HSTS_SECONDS = 600
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, settings.SECURE_HSTS_PRELOAD = subdomains, preload
    assert client.get("/", secure=True)["Strict-Transport-Security"] == header

"""Pages survive NUL in a URL, endless bodies and an unavailable database."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ["/", "/join", "/again", "/waiting", "/g/abc", "/metrics", "/favicon.ico", "/sms/dlr/1.x/", "/nothing"]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def admin_addresses() -> Iterator[str]:
    """Yield every URL of the admin, with the id 1 for a row."""

    def walk(patterns: list[Any], before: str) -> Iterator[str]:
        for entry in patterns:
            route = before + str(entry.pattern)
            if isinstance(entry, URLResolver):
                yield from walk(entry.url_patterns, route)
            elif isinstance(entry, URLPattern):
                yield route

    found = (entry for entry in get_resolver().url_patterns if isinstance(entry, URLResolver))
    (root,) = (entry for entry in found if entry.app_name == "admin")
    for route in walk(root.url_patterns, ""):
        for placeholder in ("<path:object_id>", "<int:content_type_id>", "<path:content_type_id>", "<path:object_id>"):
            route = route.replace(placeholder, "1")
        if "<" not in route and "(?P" not in route:
            yield f"/admin/{route.removeprefix('admin/')}"


def test_the_admins_addresses_are_found() -> None:
    found = list(admin_addresses())
    assert len(found) > 5 * len(admin.site._registry)


def test_nul_in_the_query_of_any_admin_address(operator: Client) -> None:
    for path in admin_addresses():
        for name in ("q", "_changelist_filters", "x"):
            assert operator.get(f"{path}?{name}=a%00b").status_code == 400, (path, name)
        assert operator.get(f"{path}?a%00b=1").status_code == 400, path


@pytest.mark.parametrize("path", PAGES)
def test_nul_in_the_query_of_any_page(client: Client, path: str) -> None:
    for query in ("x=%00", "%00", "match_code=A%00", "pt=%00", "a=1&b=%00"):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert "no-store" in answer["Cache-Control"]
        assert "contains a character that is not allowed" in answer.content.decode()


@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "django_language", "pm_queue"])
def test_nul_in_a_cookie(client: Client, name: str) -> None:
    assert client.get("/admin/", headers={"Cookie": f'{name}="aaaaaaaa\\000"'}).status_code == 400


@pytest.mark.parametrize("path", ["/", "/join", "/language", "/admin/login/", "/sms/dlr/1.x/"])
def test_a_body_over_64_kib_is_refused_on_every_page(client: Client, path: str) -> None:
    body = b"a=" + b"x" * 65536
    answer = client.post(path, body, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 413
    assert client.post(path, body[:65536], content_type="application/x-www-form-urlencoded").status_code != 413


@pytest.mark.parametrize("path", ["/api/v1/game/stake", "/api/v1/momo/callback", "/", "/sms/dlr/1.x/"])
def test_a_body_of_unknown_length_that_the_server_has_not_read_is_refused(client: Client, path: str) -> None:
    answer = client.generic(
        "POST", path, b"", content_type="application/json", headers={"Transfer-Encoding": "chunked"}, CONTENT_LENGTH=""
    )
    assert answer.status_code == 411


@pytest.mark.parametrize("failure", [OperationalError, InterfaceError])
@pytest.mark.parametrize("debug", [False, True])
def test_an_unavailable_database_is_answered_503(
    client: Client, monkeypatch: Any, settings: Any, caplog: Any, failure: type[Exception], debug: bool
) -> None:
    settings.DEBUG = debug

    def away(*args: Any, **kwargs: Any) -> None:
        raise failure("the connection is closed")

    monkeypatch.setattr("django.db.backends.utils.CursorWrapper.execute", away)
    page = client.get("/g/abc")
    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert "try again in a few seconds" in page.content.decode()
    answer = client.post(
        "/api/v1/game/stake", {"phone_number": "0772000001", "stake_amount": 1000}, content_type="application/json"
    )
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json() == {
        "error": "The database is out of reach for the moment; try again in a few seconds.",
        "fields": {},
    }
    assert "the connection is closed" in caplog.text
    report = client.get("/sms/dlr/1.x/")
    assert report.status_code == 403


def test_an_unreadable_session_is_answered_503(client: Client, operator: Client, monkeypatch: Any) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("too many clients")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", away)
    answer = operator.get("/admin/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")


def test_a_refused_request_is_answered_in_its_own_language(client: Client) -> None:
    assert '<html lang="lg">' in client.get("/", headers={"Accept-Language": "lg"}).content.decode()
    refused = Client().get("/?match_code=%00", headers={"Accept-Language": "en"})
    assert (refused.status_code, '<html lang="en">' in refused.content.decode()) == (400, True)

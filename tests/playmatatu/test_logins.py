"""Limits on failed logins, by name and address, across all processes."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from playmatatu import logins
from playmatatu.models import FailedLogin

pytestmark = pytest.mark.django_db(transaction=True)

HERE, THERE = "203.0.113.7", "203.0.113.8"


@pytest.fixture(autouse=True)
def operator() -> User:
    return User.objects.create_superuser("operator", password="right")


def login(password: str, name: str = "operator", address: str = HERE) -> int:
    answer = Client(REMOTE_ADDR=address).post(
        "/admin/login/", {"username": name, "password": password, "next": "/admin/"}
    )
    if answer.status_code == 429:
        assert answer["Retry-After"] == "900"
        assert "try again in 15 minutes" in answer.content.decode()
    return answer.status_code


def test_one_name_from_one_address() -> None:
    assert [login("wrong") for _ in range(6)] == [200] * 5 + [429]
    assert login("right") == 429
    assert login("right", name="Operator") == 429
    # The operator can log in from another address. Failures older than the window do not count.
    assert login("right", address=THERE) == 302
    FailedLogin.objects.update(at=timezone.now() - timedelta(seconds=logins.WINDOW_SECONDS + 1))
    assert login("right") == 302
    assert not FailedLogin.objects.exists()


def test_a_right_password_clears_the_failed_logins() -> None:
    for _ in range(3):
        assert [login("wrong") for _ in range(4)] == [200] * 4
        assert login("right") == 302


def test_many_names_from_one_address() -> None:
    assert [login("wrong", name=f"name{number}") for number in range(20)] == [200] * 20
    assert login("right") == 429
    assert login("right", address=THERE) == 302


def test_one_name_from_many_addresses() -> None:
    assert [login("wrong", address=f"203.0.113.{number // 4}") for number in range(50)] == [200] * 50
    assert login("right", address="198.51.100.1") == 429


def test_a_refused_login_does_not_prolong_the_wait() -> None:
    assert [login("wrong") for _ in range(5)] == [200] * 5
    FailedLogin.objects.update(at=timezone.now() - timedelta(seconds=logins.WINDOW_SECONDS - 1))
    assert [login("wrong") for _ in range(3)] == [429] * 3
    assert FailedLogin.objects.count() == 5
    FailedLogin.objects.update(at=timezone.now() - timedelta(seconds=logins.WINDOW_SECONDS + 1))
    assert login("right") == 302


def test_behind_a_proxy_the_caller_counts(settings: Any) -> None:
    settings.TRUSTED_PROXY_COUNT = 1

    def through(address: str) -> int:
        return (
            Client(headers={"X-Forwarded-For": f"192.0.2.1, {address}"})
            .post("/admin/login/", {"username": "operator", "password": "wrong"})
            .status_code
        )

    assert [through(HERE) for _ in range(6)] == [200] * 5 + [429]
    assert through(THERE) == 200


def test_concurrent_logins_are_counted() -> None:
    seen: Counter[int] = Counter()
    begin = threading.Barrier(12)

    def guess() -> None:
        begin.wait()
        seen[login("wrong")] += 1
        connection.close()

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[200] <= logins.PER_NAME_AND_ADDRESS
    assert seen[200] + seen[429] == 12


def test_no_typed_text_is_stored(caplog: Any) -> None:
    for _ in range(6):
        login("p4ssword-typed", name="s3cret-typed-as-a-name")
    kept = " ".join(str(row) for row in FailedLogin.objects.values_list()) + caplog.text
    assert "logins_limited" in caplog.text
    assert "s3cret" not in kept
    assert "p4ssword" not in kept


@pytest.mark.parametrize(
    "fields", [{}, {"username": "operator"}, {"password": "x"}, {"username": "a\0b", "password": "x"}]
)
def test_an_incomplete_form_does_not_count(client: Client, fields: dict[str, str]) -> None:
    assert client.post("/admin/login/", fields).status_code == 200
    assert not FailedLogin.objects.exists()


def test_a_session_lasts_eight_hours(client: Client) -> None:
    client.post("/admin/login/", {"username": "operator", "password": "right", "next": "/admin/"})
    assert client.cookies["sessionid"]["max-age"] == 8 * 3600
    assert client.session.get_expiry_age() == 8 * 3600

"""The API behind real servers: what a client in the same process cannot show."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import free_port, wait_for

ROOT = Path(__file__).parents[2]


def environment(**changes: str) -> dict[str, str]:
    """A production-like environment without the test settings."""
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "playmatatu.settings", "SECRET_KEY": "x" * 60} | {
        "DEBUG": "false",
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "MOMO_CALLBACK_SECRET": "a-secret",
        "MOMO_AUTO_APPROVE": "true",
        "REDIS_URL": "",
        "SMS_SERVICE_BASE_URL": "",
        **changes,
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any) -> Iterator[str]:
    """Gunicorn as in production, on a database of its own."""
    folder = tmp_path_factory.mktemp("site")
    env = environment(DATABASE_URL=f"sqlite:///{folder}/db.sqlite3", WEB_CONCURRENCY="1")
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}"], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/api/v1/config", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers, 30)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("size", [70_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize(("path", "code"), [("/api/v1/game/stake", 413), ("/api/v1/nothing", 404)])
def test_a_refused_body_does_not_end_the_connection(site: str, size: int, path: str, code: int) -> None:
    headers = {"Content-Type": "application/json"}
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(site + path, data=b"x" * size, headers=headers, timeout=10)
            assert answer.status_code == code
            assert answer.json()["error"]


def test_head_has_no_body_and_leaves_the_connection_in_order(site: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            head = session.head(f"{site}/api/v1/config", timeout=5)
            assert (head.status_code, head.content) == (200, b"")
            assert session.get(f"{site}/api/v1/config", timeout=5).json()["commission_flat"] == 0


def test_a_body_in_chunks_is_told_what_to_do(site: str) -> None:
    answer = requests.post(
        f"{site}/api/v1/game/stake",
        data=iter([b'{"phone_number": "0772000001",', b'"stake_amount": 1000}']),
        headers={"Content-Type": "application/json"},
        timeout=5,
    )
    assert answer.status_code == 400
    assert "Content-Length" in answer.json()["error"]


def test_health_is_down_without_a_database_and_only_then() -> None:
    program = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "answer = Client().get('/api/v1/health')\n"
        "print(answer.status_code, answer.json()['status'], answer.json()['parts']['database'])\n"
    )
    for changes, expected in (
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}, "503 down down"),
        ({"DATABASE_URL": "sqlite://:memory:", "REDIS_URL": "redis://127.0.0.1:1/0"}, "200 degraded ok"),
    ):
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(**changes),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.stdout.strip() == expected, run.stderr[-3000:]

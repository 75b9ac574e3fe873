"""The tests whose subject is the database, once more on PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Postgres

SUBJECTS = [
    "stake",
    "payments",
    "races",
    "queue_status",
    "session",
    "notifications",
    "outbox",
    "clock",
    "in_doubt",
    "throttle",
    "reports",
    "console",
    "overview",
]


@pytest.mark.skipif(bool(os.environ.get("TEST_DATABASE_URL")), reason="this is the second run already")
def test_on_postgresql(postgres: Postgres) -> None:
    root = Path(__file__).parents[3]
    paths = [str(path) for subject in SUBJECTS for path in (root / "tests").rglob(f"test_{subject}.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-cov", "-p", "no:cacheprovider", *paths],
        cwd=root,
        env={**os.environ, "TEST_DATABASE_URL": postgres.create_database("suite")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]

"""Run the tests about the database a second time, on PostgreSQL."""

import os
from pathlib import Path

import pytest

from tests import preloaded
from tests.conftest import Postgres
from tests.system import TEMPLATE

ROOT = Path(__file__).parents[1]
NOT_NEEDED = ["-p", "no:cacheprovider"]
# This test always starts its own PostgreSQL.
NOT_NEEDED += ["--deselect", "tests/sms/test_outbox.py::test_a_connection_cut_during_the_send_loses_no_result"]
# Subjects by app and folder. The path of a test is `tests/<app>/<folder>/test_<subject>.py`.
SUBJECTS = {
    "game": {
        "": "clock close_matches lives money notifications results statements",
        "rules": "invites lock_order matching pruning queue_status races session stake unpaid",
    },
    "payments": {
        "": "reconciliation payments asking collecting callbacks money_races payments_admin refunding append_only "
        "rolling_deploy ledger hot_statements"
    },
    "sms": {
        "": "outbox clock owners prune",
        "sending": "in_doubt kept_connections pauses rate_limit",
        "dlr": "reports",
        "inbound": "inbound",
        "console": "console overview",
        "worker": "large_ids",
    },
    "playmatatu": {"": "connections", "operator": "plans find"},
}


def paths(app: str) -> list[Path]:
    return [
        ROOT / "tests" / app / folder / f"test_{subject}.py"
        for folder, subjects in SUBJECTS[app].items()
        for subject in subjects.split()
    ]


@pytest.mark.parametrize("app", SUBJECTS)
def test_each_is_there(app: str) -> None:
    assert [path for path in paths(app) if not path.exists()] == []


@pytest.mark.skipif(bool(os.environ.get("TEST_DATABASE_URL")), reason="this is the second run already")
@pytest.mark.parametrize("app", SUBJECTS)
def test_on_postgresql(postgres: Postgres, app: str) -> None:
    database = {
        "TEST_DATABASE_URL": f"{postgres.url}/suite_{app}",
        "TEST_DATABASE_TEMPLATE": TEMPLATE,
    }
    command = ["-m", "pytest", "-q", "--no-cov", *NOT_NEEDED, *map(str, paths(app))]
    run = preloaded.run(command, env={**os.environ, **database}, timeout=900)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]

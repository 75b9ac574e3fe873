"""Test that the files of deploy/ fit the project, and that the commands of docs/production.md start the service."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from django.core.management import get_commands

from tests.conftest import Postgres, missing, postgres_programs, redis_program, wait_for

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


def test_each_unit_starts_what_exists() -> None:
    started = [command for unit in UNITS for command in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert len(started) == 9
    for command in started:
        program, *arguments = command.removeprefix("/srv/playmatatu/current/").split()
        if arguments[:1] == ["manage.py"]:
            assert arguments[1] in get_commands(), command
        else:
            assert program == ".venv/bin/gunicorn" or os.access(ROOT / program, os.X_OK), command


def test_systemd_accepts_the_units() -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze")
    said = subprocess.run(
        ["systemd-analyze", "verify", *UNITS], capture_output=True, text=True, check=False, cwd=DEPLOY
    ).stderr
    # On this machine, the programs are not installed at the units' paths.
    assert [line for line in said.splitlines() if "is not executable" not in line] == []


def test_the_settings_file_names_settings() -> None:
    known = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) | {"WEB_CONCURRENCY"}
    assert set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env").read_text(), re.MULTILINE)) <= known


def test_the_image_holds_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"playmatatu", "game", "payments", "sms", "locale", "deploy"}
    copied |= {"requirements.lock", "manage.py", "gunicorn.conf.py"}
    allowed = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert allowed == copied


def test_a_person_is_told_of_every_job_that_fails() -> None:
    jobs = [unit.with_suffix(".service") for unit in UNITS if unit.suffix == ".timer"]
    assert len(jobs) == 4
    for job in jobs:
        assert "OnFailure=playmatatu-failed@%n.service\n" in job.read_text(), job


def test_compose_runs_every_job_of_the_timers() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    for unit in UNITS:
        if unit.suffix == ".timer":
            job = unit.stem.removeprefix("playmatatu-")
            assert f'command: [deploy/every.sh, "{300 if job == "check" else 86400}", {job}, ' in compose
            for command in re.findall(r"^ExecStart=(.*)$", unit.with_suffix(".service").read_text(), re.MULTILINE):
                assert command.split()[-2 if job == "backup" else -1].split("/")[-1] in compose
    assert "format: raw" in compose


@pytest.mark.parametrize(
    ("url", "database", "expected"),
    [
        (
            "postgres://user:p%23%27%20x@db.example.com:5433/name?sslmode=verify-full",
            "",
            {
                "PGUSER": "user",
                "PGPASSWORD": "p#' x",
                "PGHOST": "db.example.com",
                "PGPORT": "5433",
                "PGDATABASE": "name",
                "PGSSLMODE": "verify-full",
            },
        ),
        (
            "postgresql://u:x@one:1,two:2/name?target_session_attrs=read-write",
            "copy",
            {
                "PGUSER": "u",
                "PGPASSWORD": "x",
                "PGHOST": "one,two",
                "PGPORT": "1,2",
                "PGDATABASE": "copy",
                "PGTARGETSESSIONATTRS": "read-write",
            },
        ),
        ("postgres://u@[::1]/name", "", {"PGUSER": "u", "PGHOST": "::1", "PGDATABASE": "name"}),
        (
            "postgres://u@/name?host=/run/postgresql",
            "",
            {"PGUSER": "u", "PGHOST": "/run/postgresql", "PGDATABASE": "name"},
        ),
    ],
)
def test_the_scripts_read_the_database_from_its_url(url: str, database: str, expected: dict[str, str]) -> None:
    script = f'eval "$({DEPLOY}/pg_env.py {database})" && env'
    shown = subprocess.run(
        ["sh", "-c", script], env={"PATH": os.environ["PATH"], "DATABASE_URL": url}, capture_output=True, text=True
    )
    found = dict(line.split("=", 1) for line in shown.stdout.splitlines() if line.startswith("PG"))
    assert found == expected, shown.stderr


def test_the_database_s_password_is_in_no_argument() -> None:
    for name in ("backup.sh", "restore.sh"):
        script = (DEPLOY / name).read_text()
        assert "$DATABASE_URL" not in script
        assert 'eval "$connection"' in script


def test_restoring_into_a_used_database_or_from_a_broken_dump_fails(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database("dumped")
    postgres.create_database("restored")
    tools = {"PATH": f"{postgres.programs}:{os.environ['PATH']}", "DATABASE_URL": url}

    def run(*command: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*map(str, command)], env=tools, capture_output=True, text=True, check=False)

    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("CREATE TABLE sms_smsmessage AS SELECT 1 AS id")
        dump = run(DEPLOY / "backup.sh", tmp_path / "backups").stdout.strip()
        assert Path(dump).stat().st_mode & 0o777 == 0o600
        restored = run(DEPLOY / "restore.sh", dump, "restored")
        assert (restored.returncode, restored.stdout) == (0, "restored; messages in it: 1\n"), restored.stderr
        # If a dump ends in the middle of a table, none of its rows is kept.
        postgres.create_database("cut")
        (tmp_path / "cut").write_bytes(Path(dump).read_bytes()[:-100])
        cut = run(DEPLOY / "restore.sh", tmp_path / "cut", "cut")
        assert cut.returncode != 0
        again = run(DEPLOY / "restore.sh", dump, "restored")
        assert again.returncode != 0
        assert "is not empty (1 tables)" in again.stderr
        # The last query of the script fails for a dump of another application.
        sql.execute("DROP TABLE sms_smsmessage")
        postgres.create_database("other")
        other = run(DEPLOY / "restore.sh", run(DEPLOY / "backup.sh", tmp_path / "more").stdout.strip(), "other")
        assert other.returncode != 0
        assert "restored" not in other.stdout


@pytest.mark.parametrize("fails", [False, True])
def test_a_newer_pg_restore_restores_into_an_older_server(postgres: Postgres, tmp_path: Path, fails: bool) -> None:
    """Since version 17, pg_restore sets a parameter that PostgreSQL 16 does not know.

    `fails`: pg_restore fails in the middle of a table.
    """
    databases = [f"newer_{fails}_{name}".lower() for name in ("from", "to")]
    url, _ = map(postgres.create_database, databases)
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute("CREATE TABLE sms_smsmessage AS SELECT generate_series(1, 9) AS id")
    (tmp_path / "pg_restore").write_text(
        "#!/bin/sh\necho 'SET transaction_timeout = 0;'\n"
        f'{postgres.programs}/pg_restore "$@" {"| sed /^5/q; exit 1" if fails else ""}\n'
    )
    (tmp_path / "pg_restore").chmod(0o755)
    tools = {"PATH": f"{tmp_path}:{postgres.programs}:{os.environ['PATH']}", "DATABASE_URL": url}

    def run(*command: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*map(str, command)], env=tools, capture_output=True, text=True, check=False)

    dump = run(DEPLOY / "backup.sh", tmp_path / "backups").stdout.strip()
    restored = run(DEPLOY / "restore.sh", dump, databases[1])
    with psycopg.connect(f"{postgres.url}/{databases[1]}") as sql:
        tables = sql.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    if fails:
        assert (restored.returncode != 0, restored.stdout, tables) == (True, "", (0,))
    else:
        assert (restored.returncode, restored.stdout) == (0, "restored; messages in it: 9\n"), restored.stderr


def test_a_job_of_compose_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/reported\n')
    (tmp_path / "python").chmod(0o755)
    job = subprocess.Popen(
        [DEPLOY / "every.sh", "0.1", "check", "sh", "-c", f"echo ran >>{tmp_path}/ran; exit 1"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    try:
        wait_for(lambda: (tmp_path / "reported").exists() and (tmp_path / "ran").read_text().count("ran") > 1)
    finally:
        job.terminate()
    assert job.wait(5) == 0
    assert (tmp_path / "reported").read_text().splitlines()[0] == "manage.py report_failure check"


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "production.md").read_text()
    for file in (*UNITS, *(path for path in DEPLOY.iterdir() if path.is_file())):
        assert file.name in page or file.stem in page, f"docs/production.md does not speak of {file.name}"


@pytest.mark.slow
def test_the_page_s_own_commands_end_in_a_match_through_nginx_with_tls() -> None:
    redis = redis_program()
    if (
        redis is None
        or postgres_programs() is None
        or shutil.which("nginx", path="/usr/sbin:" + os.environ["PATH"]) is None
    ):
        missing("PostgreSQL, Redis or nginx")
    # PostgreSQL runs as another user, who cannot read pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix=f"playmatatu-trial-{os.getpid()}-"))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith(("PIP_", "SSL_CERT"))
    }
    try:
        ended = subprocess.run(
            [DEPLOY / "trial.sh", folder],
            env={
                **kept,
                "REDIS_SERVER": str(redis),
                "UV": str(Path(sys.executable).with_name("uv")),
                "COMPILED": sys.prefix,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        assert ended.stdout.splitlines()[-1] == "--- all well"
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""The files of deploy/: that they fit the project, and that docs/production.md gets there."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.conftest import missing, postgres_programs, redis_program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


def test_each_unit_starts_what_exists() -> None:
    started = [command for unit in UNITS for command in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert len(started) == 8
    for command in started:
        program, *arguments = command.removeprefix("/srv/playmatatu/current/").split()
        if arguments[:1] == ["manage.py"]:
            assert arguments[1] in get_commands(), command
        else:
            assert program == ".venv/bin/gunicorn" or os.access(ROOT / program, os.X_OK), command


def test_systemd_takes_the_units() -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze")
    said = subprocess.run(
        ["systemd-analyze", "verify", *UNITS], capture_output=True, text=True, check=False, cwd=DEPLOY
    ).stderr
    # The programs lie elsewhere here.
    assert [line for line in said.splitlines() if "is not executable" not in line] == []


def test_the_settings_file_names_settings() -> None:
    known = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) | {"WEB_CONCURRENCY"}
    assert set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env").read_text(), re.MULTILINE)) <= known


def test_the_image_holds_every_package() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"playmatatu", "game", "payments", "sms", "locale"}


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "production.md").read_text()
    for file in (*UNITS, *(path for path in DEPLOY.iterdir() if path.is_file())):
        assert file.name in page or file.stem in page, f"docs/production.md does not speak of {file.name}"


@pytest.mark.slow
def test_the_page_carried_out_ends_in_a_match_through_nginx_with_tls() -> None:
    redis = redis_program()
    if (
        redis is None
        or postgres_programs() is None
        or shutil.which("nginx", path="/usr/sbin:" + os.environ["PATH"]) is None
    ):
        missing("PostgreSQL, Redis or nginx")
    # pytest's own folders let nobody else pass, and PostgreSQL runs as somebody else.
    folder = Path(tempfile.mkdtemp(prefix="playmatatu-trial-"))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG") or name.startswith(("PIP_", "SSL_CERT"))
    }
    try:
        ended = subprocess.run(
            [DEPLOY / "trial.sh", folder],
            env={**kept, "REDIS_SERVER": str(redis), "UV": str(Path(sys.executable).with_name("uv"))},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        assert ended.stdout.splitlines()[-1] == "--- all well"
    finally:
        shutil.rmtree(folder, ignore_errors=True)

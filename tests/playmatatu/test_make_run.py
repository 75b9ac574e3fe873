"""`make run` in a fresh copy of the repository: started, used and stopped."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import free_port, wait_for

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: Any) -> Path:
    """Copy the working tree without ignored files, with the current Python as `.venv`."""
    target: Path = tmp_path_factory.mktemp("clone") / "playmatatu"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # The bytecode is valid for the copies, because they have the modification times of the originals.
    for folder in (target / name for name in ("game", "payments", "playmatatu", "sms")):
        for source in folder.rglob("*.py"):
            original = Path(cache_from_source(str(ROOT / source.relative_to(target))))
            if original.exists():
                (source.parent / "__pycache__").mkdir(exist_ok=True)
                shutil.copy2(original, source.parent / "__pycache__")
    (target / ".venv" / "bin").mkdir(parents=True)
    (target / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (target / ".venv" / "bin" / "python").chmod(0o755)
    (target / ".venv" / "run-installed").touch()
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target


class Run:
    def __init__(self, copy: Path, *arguments: str, **environment: str) -> None:
        self.site, self.sandbox = free_port(), free_port()
        clean = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
        self.log = (copy / "var-log.txt").open("w+")
        self.process = subprocess.Popen(
            ["make", "run", f"PORT={self.site}", f"SANDBOX_PORT={self.sandbox}", *arguments],
            cwd=copy,
            env=clean | environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.copy = copy

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def ready(self) -> None:
        wait_for(lambda: "Ctrl-C stops everything" in self.output() or self.process.poll() is not None, 60, 0.1)
        assert self.process.poll() is None, self.output()

    def members(self) -> list[str]:
        listed = subprocess.run(["ps", "-eo", "pgid,args"], capture_output=True, text=True, check=True).stdout
        return [line for line in listed.splitlines() if line.split()[0] == str(self.process.pid)]

    def stop(self, number: int) -> None:
        """Stop it with this signal. Check that no process and no open port is left."""
        assert len(self.members()) >= 5
        os.killpg(self.process.pid, number)
        self.process.wait(10)
        wait_for(lambda: not self.members(), 5, 0.1)
        for port in (self.site, self.sandbox):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def runs(copy: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        if run.members():
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
        run.log.close()
        (copy / "var-log.txt").unlink(missing_ok=True)


def pay(sandbox: str) -> None:
    """Tap "Pay" on the phone with the payment prompt."""
    prompts = wait_for(lambda: requests.get(f"{sandbox}/prompts.json", timeout=5).json(), every=0.2)
    answer = requests.post(f"{sandbox}/prompts/{prompts[0]['sp_transaction_id']}", json={"answer": "pay"}, timeout=5)
    assert answer.status_code == 200


def texts_to(sandbox: str, number: str) -> list[str]:
    inbox = requests.get(f"{sandbox}/inbox.json", timeout=5).json()
    return [item["text"] for item in inbox if item["to"] == number]


def manage(run: Run, arguments: str) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        ["make", "manage", f"ARGS={arguments}"], cwd=run.copy, env=clean, capture_output=True, text=True, check=False
    )


def test_the_first_minute_of_a_visitor(copy: Path, runs: list[Run]) -> None:
    run = Run(copy)
    runs.append(run)
    run.ready()
    site, sandbox = f"http://127.0.0.1:{run.site}", f"http://127.0.0.1:{run.sandbox}"
    created = requests.post(
        f"{site}/api/v1/game/stake",
        json={
            "phone_number": "0772000001",
            "stake_amount": 1000,
            "create_private": True,
            "invite_phone": "0752000002",
        },
        timeout=10,
    ).json()
    assert created["status"] == "awaiting_payment"
    pay(sandbox)
    [invite] = wait_for(lambda: texts_to(sandbox, "0752000002"), every=0.2)
    link = invite.split()[-1]
    code = link.removeprefix(f"{site}/?match_code=")
    payer = f"Payment of 1000 UGX received. Share your code: {code}"
    wait_for(lambda: payer in texts_to(sandbox, "0772000001"), every=0.2)
    assert code in requests.get(link, timeout=5).text
    joined = requests.post(
        f"{site}/api/v1/game/stake",
        json={"phone_number": "0752000002", "stake_amount": 1000, "match_code": code},
        timeout=10,
    ).json()
    pay(sandbox)
    for number in ("0772000001", "0752000002"):
        texts = wait_for(
            lambda to=number: [text for text in texts_to(sandbox, to) if "Opponent found!" in text], every=0.2
        )
        assert len(texts) == 1
        assert requests.get(texts[0].split()[-1], timeout=5).status_code == 200
    # A command uses the ports, the database and the sandbox of the running site.
    sent = manage(run, "send_test_sms 0772000009 --message 'Two words'")
    assert sent.returncode == 0, sent.stderr
    assert texts_to(sandbox, "0772000009") == ["Two words"]
    login = re.search(r"user (\S+), password (\S+)", run.output())
    assert login
    session = requests.Session()
    page = session.get(f"{site}/admin/login/", timeout=5).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    answer = session.post(
        f"{site}/admin/login/?next=/admin/",
        {"username": login[1], "password": login[2], "csrfmiddlewaretoken": token[1]},
        timeout=10,
    )
    assert "Log out" in answer.text
    status = subprocess.run(["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True)
    assert status.stdout.replace("?? var-log.txt\n", "") == ""
    assert requests.get(site, timeout=5).text.count("Demo: no money moves.") == 1
    assert f'href="{sandbox}/"' in answer.text
    run.stop(signal.SIGINT)
    own = [
        f"  Play:   {site}/",
        f"  Phones: {sandbox}/   payment prompts and SMS. Demo: no money moves",
        f"  Admin:  {site}/admin/   user {login[1]}, password {login[2]}",
        f"  API:    {site}/api/docs",
        "  Ctrl-C stops everything.",
        "Stopped.",
    ]
    assert [line for line in run.output().splitlines() if line and "make" not in line] == own
    for secret in (created["player_token"], created["queue_token"], joined["player_token"], joined["queue_token"]):
        assert secret not in run.output()


def test_no_payment_is_requested_with_auto_approval(copy: Path, runs: list[Run]) -> None:
    run = Run(copy, MOMO_AUTO_APPROVE="true")
    runs.append(run)
    run.ready()
    created = requests.post(
        f"http://127.0.0.1:{run.site}/api/v1/game/stake",
        json={"phone_number": "0772000003", "stake_amount": 1000, "create_private": True},
        timeout=10,
    ).json()
    assert created["status"] == "private_created"
    counts = requests.get(f"http://127.0.0.1:{run.sandbox}/counts.json", timeout=5).json()
    assert counts["money"]["asked"]["payin"] == {}
    # A command uses the settings of the running site. After the site has stopped it uses the defaults again.
    shown = 'shell -v 0 -c "from django.conf import settings as s; print(s.MOMO_AUTO_APPROVE, s.SITE_URL)"'
    assert manage(run, shown).stdout == f"True http://127.0.0.1:{run.site}\n"
    run.stop(signal.SIGHUP)
    assert manage(run, shown).stdout == "False http://127.0.0.1:8000\n"


def test_the_workers_poll_and_refund(copy: Path, runs: list[Run]) -> None:
    """Without a notification the worker polls.

    Nobody joins, so the money is due for refund, and the payer gets a message.
    """
    run = Run(copy, SMS_DELIVERY="worker", QUEUE_EXPIRY_MINUTES="0.05")
    runs.append(run)
    run.ready()
    sandbox = f"http://127.0.0.1:{run.sandbox}"
    requests.post(f"{sandbox}/faults", json={"phones": "pay", "callback": "never"}, timeout=5)
    staked = requests.post(
        f"http://127.0.0.1:{run.site}/api/v1/game/stake",
        json={"phone_number": "0772000005", "stake_amount": 2000},
        timeout=10,
    ).json()
    assert staked["status"] == "awaiting_payment"
    refund = "Nobody joined your match. Your 2000 UGX will be refunded."
    wait_for(lambda: refund in texts_to(sandbox, "0772000005"), 30, 0.2)
    counts = requests.get(f"{sandbox}/counts.json", timeout=5).json()
    assert counts["texts"]["repeated"] == []
    assert list(counts["money"]["taken"]["payin"].values()) == [1]
    run.stop(signal.SIGTERM)
    assert "Traceback" not in run.output()


def test_nothing_is_left_behind_at_once(copy: Path, runs: list[Run]) -> None:
    """This test stops it early. The other tests use other signals after some work."""
    run = Run(copy, SMS_DELIVERY="worker")
    runs.append(run)
    run.ready()
    assert len(run.members()) >= 6
    run.stop(signal.SIGQUIT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_set_up_stops_it_before_any_child_is_started(number: int, copy: Path) -> None:
    program = (
        "import os, signal\n"
        "from playmatatu import devserver, devsettings\n"
        f"devserver.set_up = lambda: os.kill(os.getpid(), {int(number)})\n"
        "devserver.admin_login = lambda: 'admin'\n"
        "devserver.start = lambda *arguments: print('started', *arguments)\n"
        "raise SystemExit(devserver.main([]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env={"PATH": os.environ["PATH"], "PORT": str(free_port()), "SANDBOX_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_supervisor_that_is_killed_leaves_no_child(copy: Path, runs: list[Run]) -> None:
    run = Run(copy)
    runs.append(run)
    run.ready()
    listed = subprocess.run(
        ["pgrep", "-g", str(run.process.pid), "-f", "playmatatu.devserver"], capture_output=True, text=True, check=True
    )
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    run.process.wait(10)
    wait_for(lambda: not run.members(), 10, 0.1)


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_busy_port(copy: Path, runs: list[Run], name: str) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        number = busy.getsockname()[1]
        run = Run(copy, f"{name}={number}")
        runs.append(run)
        assert run.process.wait(20) != 0
    lines = [line for line in run.output().splitlines() if str(number) in line]
    assert lines == [f"Port {number} is busy; choose another one: make run {name}=…"]


@pytest.mark.parametrize("target", ["run", "test"])
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", "pip could not reach its package index"),
        ("ERROR: ResolutionImpossible: something else", "ResolutionImpossible: something else"),
    ],
)
def test_pip_fails(copy: Path, tmp_path: Path, target: str, said: str, words: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\ncase "$*" in *"pip install"*) echo "{said}"; echo more; exit 1;; esac\n')
    python.chmod(0o755)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(
        ["make", target, f"VENV={tmp_path}"], cwd=copy, env=clean, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert len([line for line in ended.stdout.splitlines() if words in line]) == 1
    assert ("more" in ended.stdout.splitlines()) is ("Impossible" in said)
    assert not (tmp_path / f"{target}-installed").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('case "$*" in *version_info*) exit 1;; esac', "Python 3.10 or newer is needed"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "no venv module"),
    ],
)
def test_an_unsuitable_python(copy: Path, tmp_path: Path, script: str, words: str) -> None:
    fake = tmp_path / "python3"
    fake.write_text(f"#!/bin/sh\n{script}\nexit 0\n")
    fake.chmod(0o755)
    # Variables of a surrounding make are removed, because they would print more lines.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    ended = subprocess.run(
        ["make", "run", f"PYTHON={fake}", "VENV=none"],
        cwd=copy,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert words in ended.stdout
    assert len(ended.stdout.splitlines()) == 1

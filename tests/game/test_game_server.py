"""The receiver and the nginx configuration of docs/game.md work."""

import json
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.checks import run_checks
from django.db import transaction
from django.test import Client

from game.models import Session
from game.signals import session_committed
from game.tokens import player_token
from sms.models import SmsMessage
from sms.testing import serving
from tests.conftest import free_port, missing, wait_for
from tests.game_helpers import ALICE, BOB, stake

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = (Path(__file__).parents[2] / "docs" / "game.md").read_text()


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


class GameServer:
    """The internal route of a game server. It stores the received requests."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.append((self.headers["Authorization"], body))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/internal/games"


@pytest.fixture
def game_server(settings: Any) -> Iterator[GameServer]:
    """A game server, connected to the receiver in docs/game.md."""
    game = GameServer()
    settings.GAME_SERVER_URL, settings.GAME_SERVER_SECRET = game.url, "between-the-two"
    receiver: dict[str, Any] = {}
    exec(compile(block("python"), "docs/game.md", "exec"), receiver)
    with serving(game.server):
        yield game
    assert session_committed.disconnect(receiver["announce"])


def test_the_receiver_hands_a_match_over(game_server: GameServer, settings: Any) -> None:
    settings.COMMISSION_FLAT = 300
    first = stake(Client(), ALICE, 2000, display_name="Alice")
    assert game_server.told == []
    second = stake(Client(), BOB, 2000, display_name="Bob")
    [(proof, match)] = game_server.told
    session = Session.objects.get()
    assert proof == "Bearer between-the-two"
    assert match == {
        "token": session.token,
        "stake": 2000,
        "prize": 4000,
        "expires_at": session.expires_at.isoformat(),
        "players": [
            {"name": "Alice", "phone": "+256772000001", "player_token": first["player_token"]},
            {"name": "Bob", "phone": "+256772000002", "player_token": second["player_token"]},
        ],
    }
    # The notification contains the same data as the API's response.
    for player, other in ((match["players"][0], "Bob"), (match["players"][1], "Alice")):
        answer = Client().get(f"/api/v1/game/{match['token']}", {"pt": player["player_token"]}).json()
        assert (answer["status"], answer["my_display_name"], answer["opponent_display_name"]) == (
            "active",
            player["name"],
            other,
        )


def test_a_match_that_is_rolled_back_is_none(game_server: GameServer) -> None:
    stake(Client(), ALICE)
    with transaction.atomic():
        assert stake(Client(), BOB)["status"] == "matched"
        transaction.set_rollback(True)
    assert game_server.told == []


def test_a_game_server_that_is_away_costs_no_match(
    game_server: GameServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.GAME_SERVER_URL = f"http://127.0.0.1:{free_port()}/secret-path"
    stake(Client(), ALICE)
    with caplog.at_level(logging.WARNING, "bridge"):
        met = stake(Client(), BOB)
    assert met["status"] == "matched"
    assert SmsMessage.objects.filter(kind="match_found").count() == 2
    assert [record.getMessage() for record in caplog.records if record.name == "bridge"] == [
        "The game server was not notified of a match: ConnectionError"
    ]


# --- our match page's button


def test_the_button_leads_to_the_game_with_the_player_s_own_tokens(settings: Any) -> None:
    first, second = stake(Client(), ALICE), stake(Client(), BOB)
    path = f"/g/{second['game_token']}"
    alice = Client()
    path = alice.get(path, {"pt": first["player_token"]})["Location"]
    page = alice.get(path).content.decode()
    assert "The game runs in another app." in page
    assert "Play now" not in page
    assert alice.get(f"{path}/play")["Location"] == path

    settings.GAME_URL = "https://cards.example.com/table/{token}#{pt}"
    page = alice.get(path).content.decode()
    assert f'href="{path}/play"' in page
    assert "another app" not in page
    assert first["player_token"] not in page
    answer = alice.get(f"{path}/play")
    token = player_token(Session.objects.get().entries.get(player__phone="+256772000001"))
    assert answer["Location"] == f"https://cards.example.com/table/{second['game_token']}#{token}"
    assert "no-store" in answer["Cache-Control"]
    # Strangers, and players of a match that is over, see no link to the game.
    assert "Play now" not in Client().get(path).content.decode()
    assert Client().get(f"{path}/play")["Location"] == path
    assert Client().get("/g/unknown/1/play")["Location"] == "/g/unknown/1"
    Session.objects.update(expires_at="2026-01-01T00:00:00Z")
    assert alice.get(f"{path}/play")["Location"] == path


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("", []),
        ("https://cards.example.com/g/{token}?pt={pt}", []),
        ("https://cards.example.com/g/{token}", ["game.E001"]),
        ("https://cards.example.com/?pt={pt}", ["game.E001"]),
        ("cards.example.com/g/{token}?pt={pt}", ["game.E001"]),
    ],
)
def test_an_address_that_leads_nowhere_is_told_of(settings: Any, address: str, found: list[str]) -> None:
    settings.GAME_URL = address
    assert [check.id for check in run_checks() if (check.id or "").startswith("game.")] == found


# --- the existing frontend before this service


@pytest.fixture
def proxy(live_server: Any, settings: Any, tmp_path: Path) -> Iterator[str]:
    """The nginx of docs/game.md, with a built frontend behind it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        missing("nginx")
    assert program
    port = free_port()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("the frontend's own page")
    tmp_path.chmod(0o755)
    server = block("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    server = server.replace("/srv/frontend", str(tmp_path / "site"))
    server = server.replace("127.0.0.1:8000", live_server.url.removeprefix("http://"))
    temporary = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"user root;\ndaemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{server}\n}}\n"
    )
    settings.TRUSTED_PROXY_COUNT = 1
    process = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")])
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        try:
            return requests.get(url, timeout=5).ok
        except requests.ConnectionError:
            return False

    wait_for(up)
    yield url
    process.terminate()
    process.wait()


def test_the_frontend_and_this_service_behind_one_proxy(proxy: str) -> None:
    """Addresses without a page in the frontend reach this service. The frontend keeps its own two addresses."""
    for path in ("/", "/?match_code=ABC234", "/g/0123456789abcdefABCDEFGH?pt=x", "/whatever"):
        assert requests.get(proxy + path, timeout=5).text == "the frontend's own page"
    ours = {
        "/api/v1/config": 200,
        "/sms/dlr/1.forged/": 403,
        "/join?match_code=ABC234": 200,
        "/waiting": 302,
        "/static/game/game.css": 200,
        "/admin/login/": 200,
    }
    for path, status in ours.items():
        answer = requests.get(proxy + path, timeout=5, allow_redirects=False)
        assert answer.status_code == status, path
        assert "frontend's own" not in answer.text
    # A player without JavaScript uses only our pages, up to the match, and every address on the way is forwarded.
    browser = requests.Session()
    form = browser.get(f"{proxy}/join?opponent=anyone", timeout=5).text
    [target] = re.findall(r'<form method="post" action="([^"]+)" class="stake"', form)
    [token] = re.findall(
        r'class="stake" novalidate>\s*<input type="hidden" name="csrfmiddlewaretoken" value="(\w+)"', form
    )
    placed = browser.post(
        proxy + target,
        {"csrfmiddlewaretoken": token, "phone_number": ALICE, "stake_amount": "1000", "opponent": "anyone"},
        timeout=5,
    )
    assert "Searching for an opponent" in placed.text
    assert re.fullmatch(rf"{proxy}/waiting/\d+", placed.url)
    stake(Client(), BOB)
    assert "Your match" in browser.get(placed.url, timeout=5).text

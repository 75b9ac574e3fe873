"""Every URL, setting, message kind, command and log event is registered in the place that documents it."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLResolver, get_resolver

from game.notifications import render
from tests.game.pages.test_translations import LONGEST
from tests.playmatatu.test_refusals import admin_addresses

ROOT = Path(__file__).parents[2]
APPS = ("sms", "game", "payments", "playmatatu")

# --- addresses

# Public URLs. They show no data of players, or accept data from anybody.
PUBLIC = {
    "",
    "join",
    "join/stop",
    "language",
    "link",
    "favicon.ico",
    "admin",
    "api/",
    "^api/",
    "api/docs",
    "api/openapi.json",
    "api/v1/config",
    "api/v1/game/stake",
    "api/v1/health",
}
# URLs that need the player's own token, in the URL or as a signed cookie. Without it they show no names.
PLAYERS = {
    "api/v1/game/<game_token>",
    "api/v1/game/queue/status",
    "g/<str:game_token>",
    "g/<str:game_token>/<int:pk>",
    "g/<str:game_token>/<int:pk>/play",
    "waiting",
    "waiting/<int:pk>",
    "waiting/<int:pk>/cancel",
    "waiting/<int:pk>/leave",
    "waiting/<int:pk>/retry",
}
# URLs that need a signature or a shared secret: a request without it, and the status of the response.
SIGNED = {
    "metrics": ("GET", "/metrics", 401),
    "sms/dlr/<str:signed_id>/": ("POST", "/sms/dlr/1.forged/", 403),
    "sms/inbound/<str:secret>/": ("POST", "/sms/inbound/guessed/", 404),
    "api/v1/game/<game_token>/result": ("POST", "/api/v1/game/unknown/result", 404),
    "api/v1/momo/callback": ("POST", "/api/v1/momo/callback", 403),
    "api/v1/momo/dmarkpay/<str:signed_id>/": ("POST", "/api/v1/momo/dmarkpay/1.forged/", 403),
}


def routes(patterns: list[Any], before: str = "") -> Iterator[str]:
    for entry in patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, route)
        else:
            yield route


def test_every_address_is_public_a_players_or_signed() -> None:
    found = {route for route in routes(get_resolver().url_patterns) if not route.startswith("admin/")}
    assert found == PUBLIC | PLAYERS | set(SIGNED)


@pytest.mark.django_db
@pytest.mark.parametrize("route", SIGNED)
def test_a_signed_address_refuses_requests_without_proof(client: Client, settings: Any, route: str) -> None:
    settings.METRICS_TOKEN = "a-token-of-the-metrics"
    method, path, refusal = SIGNED[route]
    answer = client.generic(method, path, "{}", content_type="application/json")
    assert answer.status_code == refusal


@pytest.mark.django_db
def test_the_admin_needs_a_login(client: Client) -> None:
    for path in admin_addresses():
        answer = client.get(path)
        if path == "/admin/login/":
            assert answer.status_code == 200
        elif path == "/admin/logout/":
            assert answer["Location"] == "/admin/"
        else:
            assert answer.status_code == 302, path
            assert answer["Location"].startswith("/admin/login/?next="), path


# --- settings


def example() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_every_setting_has_its_line_in_the_document() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? *\| (.+) \|$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    assert {name: default for name, default, _ in rows} == example()
    assert len(rows) == len(example())


def test_no_document_names_a_setting_that_is_not_read() -> None:
    known = set(example())
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(
            r"\b((?:SMS|MOMO|DMARK_PAY|DATABASE|SECURE|INVITES|UNPAID)_[A-Z_]*[A-Z])\b", path.read_text()
        ):
            assert any(one.startswith(name) for one in known) or hasattr(settings, name), f"{path.name}: {name}"


# --- texts


def test_every_kind_has_its_text_in_each_language() -> None:
    kinds = {path.stem for path in (ROOT / "game/templates/game/sms").glob("*.txt")}
    assert kinds == {kind for kind, _values in LONGEST}
    source = "".join(path.read_text() for path in (ROOT / "game").rglob("*.py"))
    for kind, values in LONGEST:
        # The name also occurs where the message is queued, not only in `longest_values`.
        assert source.count(f'"{kind}"') > 1, f"nothing sends {kind}"
        texts = {code: render(kind, code, **values) for code, _name in settings.LANGUAGES}
        assert len(set(texts.values())) == len(texts), texts


# --- commands


def test_every_command_is_in_the_readme() -> None:
    table = set(re.findall(r"^\| `manage\.py (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    commands = {path.stem for app in APPS for path in (ROOT / app).glob("management/commands/[!_]*.py")}
    assert table == commands


# --- log lines

EVENT = re.compile(rf"(?:{'|'.join(APPS)})\.[a-z_]+")
LEVELS = {"info", "warning", "error", "critical", "exception", "log"}
# Events that several files log with the same meaning.
SAME = {"sms.cache_down", "sms.database_lost", "sms.worker_error", "payments.database_lost", "payments.swept"}
SAME |= {"game.text_not_queued", "playmatatu.no_database", "payments.refunded_twice"}
# These files log one line per request. The event depends on the step.
STEPS = {"sms/dmark/exchange.py": {"sms.token", "sms.send", "sms.report"}}


def events() -> dict[str, set[str]]:
    """Return each event with the files that log it."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if "sandbox" in path.parts:  # Log lines of the sandbox are for its user.
                continue
            tree = ast.parse(path.read_text())
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                if not (isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "logger"):
                    continue
                if call.func.attr in LEVELS:
                    # If an event is computed, its names are elsewhere in the same file.
                    said = _events(call) or STEPS.get(name) or _events(tree)
                    assert said, f"{name}:{call.lineno} logs without an event"
                    for event in said:
                        assert event.startswith(f"{app}."), f"{name}:{call.lineno}"
                        found[event].add(name)
    return found


def _events(tree: ast.AST) -> set[str]:
    """Return the events among the strings of a tree, without the names of loggers."""
    loggers = {
        argument
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("logging.getLogger", "get_logger")
        for argument in call.args
    }
    texts = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in loggers
    )
    matches = ((text, match) for text in texts if (match := EVENT.match(text)))
    return {match[0] for text, match in matches if text[match.end() :][:1] in ("", ":", " ", "(", ";")}


def test_log_lines_about_payments_begin_with_their_event() -> None:
    for path in sorted((ROOT / "payments").rglob("*.py")):
        if "sandbox" in path.parts:
            continue
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and "logger" in ast.unparse(call.func):
                texts = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                for text in texts:
                    begins = re.match(rf"({EVENT.pattern}|%s): ", text)
                    assert begins, f"{path.name}:{call.lineno} does not begin with an event and a colon"
                assert {"extra", "exc_info"} & {word.arg for word in call.keywords}, f"{path.name}:{call.lineno}"


def test_every_log_event_is_documented_once() -> None:
    found = events()
    assert len(found) > 40
    rows = Counter(re.findall(r"^\| `([a-z_.]+)` \|", (ROOT / "docs/logs.md").read_text(), re.MULTILINE))
    assert set(rows) == set(found)
    assert set(rows.values()) == {1}


def test_every_log_event_means_one_thing() -> None:
    for event, files in events().items():
        assert len(files) == 1 or event in SAME, f"{event}: {files}"

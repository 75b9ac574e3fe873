"""The inbox as a page: phones side by side, one a number, and the switches. Works without its script, by reload."""

import re
from dataclasses import asdict
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from sms.sandbox.state import ANSWERS, METHODS, REPORTS, SENDS, TOKENS, Faults, Received, State

_LINK = re.compile(r"https?://[^\s<>\"]+")
_CHOICES = {
    "token": ANSWERS,
    "token_kind": TOKENS,
    "send": ANSWERS,
    "send_kind": SENDS,
    "dlr": ANSWERS,
    "report": REPORTS,
    "report_method": METHODS,
}
_LABELS = {
    "token": "Token request",
    "token_times": "… for so many requests (0: always)",
    "token_kind": "Kind of token",
    "token_life": "A token lives (s)",
    "send": "Sending",
    "send_times": "… for so many requests (0: always)",
    "send_kind": "Shape of the acceptance",
    "dlr": "Report request",
    "lose": "Lose texts after accepting them",
    "refuse_tokens": "Refuse every token",
    "latency_ms": "Latency (ms)",
    "retry_after": "Retry-After of a 429 (s)",
    "hang_seconds": "Hang for (s)",
    "report": "Delivery reports",
    "report_after": "Report after (s)",
    "report_method": "Reports are sent as",
}
_HERE = Path(__file__).parent
_STYLE, _SCRIPT = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
# So many phones and texts a phone are shown; /inbox.json has all.
MOST_PHONES, MOST_TEXTS = 24, 50


class Switch(NamedTuple):
    """A fault in plain words: what it sets while it is on."""

    label: str
    on: dict[str, Any]


FAULTS = (
    Switch("DMark is down", {"token": "503", "token_times": 0, "send": "503", "send_times": 0, "dlr": "503"}),
    Switch("Slow: 3 s an answer", {"latency_ms": 3000.0}),
    Switch("Hangs, never answers", {"send": "hang", "send_times": 0}),
    Switch("Hangs up (reset)", {"send": "reset", "send_times": 0}),
    Switch("Refuses the password", {"token": "401", "token_times": 0, "refuse_tokens": True}),
    Switch("Token expired (once)", {"send": "401", "send_times": 1}),
    Switch("Refuses the text", {"send": "400", "send_times": 0}),
    Switch("Too many requests", {"send": "429", "send_times": 0}),
    Switch("Takes it, says Failed", {"send_kind": "failed"}),
    Switch("Answers with a web page", {"send": "html", "send_times": 0}),
    Switch("Accepts, then loses it", {"lose": True}),
)
REPORT_SWITCHES = (
    Switch("Delivered", {"report": "delivered"}),
    Switch("Not delivered", {"report": "failed"}),
    Switch("Late: after 30 s", {"report": "late"}),
    Switch("Twice", {"report": "twice"}),
    Switch("Out of order", {"report": "backwards"}),
    Switch("In numbers", {"report": "numeric"}),
    Switch("Never", {"report": "never"}),
)


def inbox(state: State) -> str:
    """The whole page."""
    with state.lock:
        values, version = asdict(state.faults), state.version
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>SMS inbox</title><style>{_STYLE}</style></head>"
        f'<body data-version="{version}"><header><h1>Every SMS, as the phones show it</h1>'
        "<p>This is a stand-in for DMark. Nothing leaves this machine.</p></header>"
        f'<main id="phones">{phones(state)}</main><p class="unseen" id="said" role="status"></p>'
        f"{_quick(values)}{_switches(values)}<script>{_SCRIPT}</script></body></html>"
    )


def phones(state: State) -> str:
    """The phones alone, in the order in which they got their first text."""
    by_number: dict[str, list[Received]] = {}
    with state.lock:
        for message in state.messages:
            if not message.hidden:
                by_number.setdefault(message.to, []).append(message)
        # Those with the newest texts; a phone keeps its place while texts come.
        last = sorted(texts[-1].msg_id for texts in by_number.values())[-MOST_PHONES:]
        shown = [(number, texts) for number, texts in by_number.items() if texts[-1].msg_id in last]
        drawn = "".join(_phone(number, texts) for number, texts in shown)
        lost = sum(message.hidden for message in state.messages)
    gone = f'<p class="empty">Accepted and lost, as ordered: {lost}.</p>' if lost else ""
    if not drawn and not lost:
        return (
            '<p class="empty">No text has arrived yet. Stake on the site with <i>Invite a friend</i>: '
            "each number that gets a text has its phone here.</p>"
        )
    more = len(by_number) - len(shown)
    note = f'<p class="empty">{more} more in <a href="/inbox.json">/inbox.json</a>.</p>' if more else ""
    return f'<div class="phones">{drawn}</div>{note}{gone}'


def _phone(number: str, messages: list[Received]) -> str:
    name = escape(_spaced(number))
    texts = "".join(_text(message) for message in messages[-MOST_TEXTS:])
    return (
        f'<section class="phone" aria-label="Phone {name}"><h2>{name}</h2>'
        f'<div class="texts" tabindex="0" role="group" aria-label="Texts to {name}">{texts}</div></section>'
    )


def _text(message: Received) -> str:
    at = datetime.fromisoformat(message.received_at)
    clock = at.astimezone(timezone.utc).strftime("%H:%M:%S")
    report = f'<span class="report">{escape(_reported(message))}</span>'
    return (
        f'<article class="text" id="m{message.msg_id}"><p>{_linked(message.text)}</p>'
        f'<footer><time datetime="{escape(message.received_at)}">{clock} UTC</time> {report}</footer></article>'
    )


def _reported(message: Received) -> str:
    if message.reports:
        return f"reported: {', '.join(message.reports)}"
    return "no report yet" if message.dlr_url else "no report wanted"


def _spaced(number: str) -> str:
    """`0772123456` as `0772 123 456`, as people write it."""
    return f"{number[:4]} {number[4:7]} {number[7:]}" if number.isdigit() and len(number) == 10 else number


def _linked(text: str) -> str:
    parts, last = [], 0
    for link in _LINK.finditer(text):
        # A full stop behind a link is the sentence's.
        found = link[0].rstrip(".,;:!?)")
        address = escape(found)
        parts += [escape(text[last : link.start()])]
        parts += [f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>']
        last = link.start() + len(found)
    return "".join([*parts, escape(text[last:])])


# --- the switches


def _quick(values: dict[str, object]) -> str:
    usual = asdict(Faults())
    changed = [f"{_LABELS[name]}: {_word(values[name])}" for name in usual if values[name] != usual[name]]
    state = escape(f"Out of order, as you ordered. {'; '.join(changed)}.") if changed else "All is well."
    return (
        f'<section class="switches"><h2>What goes wrong</h2><p class="state" role="status">{state}</p>'
        f"{''.join(_toggle(switch, values, usual) for switch in FAULTS)}"
        f"<h2>Delivery reports</h2>{''.join(_toggle(switch, values, usual) for switch in REPORT_SWITCHES)}"
        '<div class="last"><form method="post" action="/well"><button class="good">All well again</button></form>'
        '<form method="post" action="/reset"><button>Empty the phones too</button></form></div></section>'
    )


def _toggle(switch: Switch, values: dict[str, object], usual: dict[str, object]) -> str:
    """A button that turns the switch on, or off again where it is on."""
    pressed = all(values[name] == value for name, value in switch.on.items())
    sets = {name: usual[name] if pressed else value for name, value in switch.on.items()}
    fields = "".join(f'<input type="hidden" name="{name}" value="{escape(_word(sets[name]))}">' for name in sets)
    return (
        f'<form method="post" action="/faults">{fields}'
        f'<button aria-pressed="{str(pressed).lower()}">{escape(switch.label)}</button></form>'
    )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switches(values: dict[str, object]) -> str:
    fields = "".join(f"<label>{_LABELS[name]} {_control(name, value)}</label>" for name, value in values.items())
    return (
        '<details><summary>Every switch</summary><form class="all" method="post" action="/faults">'
        f"{fields}<button>Set</button></form></details>"
    )


def _control(name: str, value: object) -> str:
    if name in _CHOICES:
        options = "".join(
            f"<option{' selected' if choice == value else ''}>{choice}</option>" for choice in _CHOICES[name]
        )
        return f'<select name="{name}">{options}</select>'
    if isinstance(value, bool):
        options = "".join(
            f'<option value="{str(choice).lower()}"{" selected" if choice == value else ""}>{label}</option>'
            for choice, label in ((False, "no"), (True, "yes"))
        )
        return f'<select name="{name}">{options}</select>'
    return f'<input name="{name}" value="{escape(str(value))}" inputmode="decimal">'

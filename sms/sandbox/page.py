"""The page of the sandbox: one phone per number, and the switches. Works without its script, by reloading."""

import re
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from django.template import Context, Engine

from sms.sandbox.state import Received, State
from sms.sandbox.switches import TEXTS, Panel

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_LINK = re.compile(r"https?://[^\s<>\"]+")
# The page shows at most 24 phones and 50 items per phone; /inbox.json has every message.
MOST_PHONES, MOST_ITEMS = 24, 50


class Part(NamedTuple):
    """A piece of a text; `link`: it is a web address."""

    words: str
    link: bool


class Item(NamedTuple):
    """An SMS, or a line about money (`money`). `note` is the line below it."""

    at: str
    key: str
    parts: list[Part]
    note: str
    money: bool = False

    @property
    def clock(self) -> str:
        return datetime.fromisoformat(self.at).astimezone(timezone.utc).strftime("%H:%M:%S")


class Phone(NamedTuple):
    """`since`: the time of its first item or prompt."""

    number: str
    since: str
    items: list[Item]
    prompts: list[Any]


class Page:
    """A subclass adds a folder with its template, and the items and prompts of its own subject."""

    folders: ClassVar[list[Path]] = [Path(__file__).parent]
    template: ClassVar[str] = "page.html"
    panel: ClassVar[Panel] = TEXTS

    def __init__(self, state: State) -> None:
        self.state = state
        self._engine = Engine(dirs=[str(folder) for folder in self.folders])

    def html(self) -> str:
        state = self.state
        with state.lock:
            phones = self._phones()
            faults, version = state.faults, state.version
            lost = sum(message.hidden for message in state.messages)
        newest = sorted(phones, key=lambda phone: (bool(phone.prompts), phone.items[-1].at if phone.items else ""))
        chosen = {phone.number for phone in newest[-MOST_PHONES:]}
        values = {
            "phones": [phone for phone in phones if phone.number in chosen],
            "more": len(phones) - len(chosen),
            "asking": sum(bool(phone.prompts) for phone in phones),
            "lost": lost,
            "version": version,
            "groups": self.panel.buttons(faults),
            "changed": "; ".join(self.panel.changed(faults)),
            "controls": self.panel.controls(faults),
        }
        return self._engine.get_template(self.template).render(Context(values))

    def file(self, path: str) -> tuple[bytes, str] | None:
        """The content and type of a style sheet or script, or None."""
        name = path.removeprefix("/")
        found = [folder / name for folder in self.folders if re.fullmatch(r"\w+\.(css|js)", name)]
        return next(((file.read_bytes(), TYPES[file.suffix]) for file in found if file.exists()), None)

    def items(self) -> list[tuple[str, Item]]:
        """The items of all phones, each with the number of its phone."""
        return [(message.to, _text(message)) for message in self.state.messages if not message.hidden]

    def prompts(self) -> list[tuple[str, str, Any]]:
        """The open prompts of all phones: number, time, prompt."""
        return []

    def _phones(self) -> list[Phone]:
        """All phones, in the order of their first item or prompt."""
        items: defaultdict[str, list[Item]] = defaultdict(list)
        prompts: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
        for number, item in self.items():
            items[national(number)].append(item)
        for number, at, prompt in self.prompts():
            prompts[national(number)].append((at, prompt))
        phones = []
        for number in {**items, **prompts}:
            times = [item.at for item in items[number]] + [at for at, _ in prompts[number]]
            asked = [prompt for _, prompt in prompts[number]]
            phones.append(Phone(spaced(number), min(times), sorted(items[number])[-MOST_ITEMS:], asked))
        return sorted(phones, key=lambda phone: phone.since)


def _text(message: Received) -> Item:
    note = "no report yet" if message.dlr_url else "no report requested"
    if message.reports:
        note = f"reported: {', '.join(message.reports)}"
    return Item(message.received_at, f"m{message.msg_id}", linked(message.text), note)


def national(number: str) -> str:
    """`256772…` and `+256772…` as `0772…`, so that each notation leads to the same phone."""
    return "0" + number[-9:] if re.fullmatch(r"\+?256\d{9}", number) else number


def spaced(number: str) -> str:
    """`0772123456` as `0772 123 456`."""
    return f"{number[:4]} {number[4:7]} {number[7:]}" if number.isdigit() and len(number) == 10 else number


def linked(text: str) -> list[Part]:
    parts, last = [], 0
    for link in _LINK.finditer(text):
        # Punctuation after a link belongs to the sentence.
        found = link[0].rstrip(".,;:!?)")
        parts += [Part(text[last : link.start()], link=False), Part(found, link=True)]
        last = link.start() + len(found)
    return [*parts, Part(text[last:], link=False)]

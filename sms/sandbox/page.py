"""The page of the sandbox: the phones with their messages, and the switches. It also works without JavaScript."""

import re
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from django.template import Context, Engine

from sms.sandbox.faults import national
from sms.sandbox.state import Received, Reply, State
from sms.sandbox.switches import TEXTS, Panel

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_LINK = re.compile(r"https?://[^\s<>\"]+")
# The page shows at most 24 phones, and 50 items per phone. The URL /inbox.json lists all messages.
MOST_PHONES, MOST_ITEMS = 24, 50


class Part(NamedTuple):
    """A part of a text. `link`: True if the part is a URL."""

    words: str
    link: bool


class Item(NamedTuple):
    """An item on a phone's screen: a received SMS, a sent SMS (`mine`), or a line about a payment (`money`)."""

    at: str
    key: str
    parts: list[Part]
    note: str
    money: bool = False
    mine: bool = False

    @property
    def words(self) -> str:
        return "".join(part.words for part in self.parts)

    @property
    def clock(self) -> str:
        return datetime.fromisoformat(self.at).astimezone(timezone.utc).strftime("%H:%M:%S")


class Phone(NamedTuple):
    """A phone on the page. `key`: the phone number. `last`: the time of the newest item or payment prompt."""

    key: str
    last: str
    items: list[Item]
    prompts: list[Any]

    @property
    def number(self) -> str:
        """The phone number in the format `0772 123 456`, or `key` unchanged if it is not a phone number."""
        key = self.key
        return f"{key[:4]} {key[4:7]} {key[7:]}" if key.isdigit() and len(key) == 10 else key


class Links(NamedTuple):
    """URLs of the site that uses the sandbox, or "". `inbound`: the URL for SMS that a user writes on a phone."""

    site: str = ""
    inbound: str = ""


class Page:
    """Renders the sandbox's page. A subclass can add template folders, items besides SMS, and payment prompts."""

    folders: ClassVar[list[Path]] = [Path(__file__).parent]
    template: ClassVar[str] = "page.html"
    panel: ClassVar[Panel] = TEXTS

    def __init__(self, state: State, links: Links) -> None:
        self.state, self.links = state, links
        self._engine = Engine(dirs=[str(folder) for folder in self.folders])

    def html(self, find: str = "") -> str:
        """Return the page as HTML. `find`: show only phones whose number or screen contains this text."""
        state, find = self.state, find.strip()
        with state.lock:
            phones = _found(self._phones(), find)
            faults, version = state.faults, state.version
            lost = sum(message.hidden for message in state.messages)
        values = {
            "phones": phones[:MOST_PHONES],
            "more": len(phones[MOST_PHONES:]),
            "find": find,
            "links": self.links,
            "numbers": faults.NUMBERS,
            "asking": sum(bool(phone.prompts) for phone in phones),
            "lost": lost,
            "version": version,
            "groups": self.panel.buttons(faults),
            "changed": "; ".join(self.panel.changed(faults)),
            "controls": self.panel.controls(faults),
        }
        return self._engine.get_template(self.template).render(Context(values))

    def file(self, path: str) -> tuple[bytes, str] | None:
        """Return the content and MIME type of a style sheet or script of the page. Return None for any other path."""
        name = path.removeprefix("/")
        found = [folder / name for folder in self.folders if re.fullmatch(r"\w+\.(css|js)", name)]
        return next(((file.read_bytes(), TYPES[file.suffix]) for file in found if file.exists()), None)

    def items(self) -> list[tuple[str, Item]]:
        """Return a (phone number, item) pair for each item. The caller must hold `state.lock`."""
        received = [(message.to, _text(message)) for message in self.state.messages if not message.hidden]
        return received + [(reply.number, _reply(reply)) for reply in self.state.replies]

    def prompts(self) -> list[tuple[str, str, Any]]:
        """Return (phone number, time, prompt) for each open payment prompt. A subclass with payments overrides this."""
        return []

    def _phones(self) -> list[Phone]:
        """Return all phones: first those with an open payment prompt, then the others. Each group is newest first."""
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
            phones.append(Phone(number, max(times), sorted(items[number])[-MOST_ITEMS:], asked))
        return sorted(phones, key=lambda phone: (bool(phone.prompts), phone.last), reverse=True)


def _text(message: Received) -> Item:
    note = "no report yet" if message.dlr_url else "no report requested"
    if message.reports:
        note = f"reported: {', '.join(message.reports)}"
    return Item(message.received_at, f"m{message.msg_id}", linked(message.text), note)


def _reply(reply: Reply) -> Item:
    return Item(reply.sent_at, f"r{reply.sent_at}", linked(reply.text), reply.note, mine=True)


def _found(phones: list[Phone], find: str) -> list[Phone]:
    """Return the phones that match `find`. For a complete number that no phone has, return one new phone."""
    if not find:
        return phones
    number = national(re.sub(r"[\s-]", "", find))
    if not re.fullmatch(r"\d{3,10}", number):
        return [phone for phone in phones if any(find.casefold() in item.words.casefold() for item in phone.items)]
    found = [phone for phone in phones if number in phone.key]
    return found or ([Phone(number, "", [], [])] if re.fullmatch(r"0\d{9}", number) else [])


def linked(text: str) -> list[Part]:
    parts, last = [], 0
    for link in _LINK.finditer(text):
        # Punctuation after a URL is not part of the URL.
        found = link[0].rstrip(".,;:!?)")
        parts += [Part(text[last : link.start()], link=False), Part(found, link=True)]
        last = link.start() + len(found)
    return [*parts, Part(text[last:], link=False)]

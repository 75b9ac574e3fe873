"""Write the generated blocks of the documents from the code. A test checks that the documents are current.

Usage: `python docs/diagrams.py`.
"""

import os
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import django
import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PAYMENTS = ROOT / "docs" / "payments.md"
APPS = ("playmatatu", "game", "payments", "sms")
# Modules that are left out, because most others import them or only Django loads them. Their arrows would hide the
# rest.
LEFT_OUT = {"conf", "errors", "apps", "urls", "signals", "checks", "clock", "templatetags", "migrations", "management"}
LEFT_OUT |= {"models", "admin", "testing"}


def _box(module: str) -> str:
    """Return the package to which a module belongs, such as `sms.dmark`. All of `playmatatu` is one package."""
    parts = module.split(".")
    return parts[0] if parts[0] == "playmatatu" else ".".join(parts[:2])


def imports() -> str:
    """Return a Mermaid flowchart of the packages.

    An arrow means "imports". Arrows that follow from others are left out.
    """
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph(*APPS, cache_dir=None)
    edges: dict[str, set[str]] = {}
    for module in graph.modules:
        if LEFT_OUT & set(module.split(".")[1:]) or module in APPS:
            continue
        known = edges.setdefault(_box(module), set())
        for name in graph.find_modules_directly_imported_by(module):
            if name not in APPS and not LEFT_OUT & set(name.split(".")[1:]) and _box(name) != _box(module):
                known.add(_box(name))
    lines = ["flowchart TD"]
    for app in APPS:
        boxes = sorted(box for box in edges if box.split(".")[0] == app)
        lines += [f"    subgraph {app}", *(f"        {box}[{box.rpartition('.')[2]}]" for box in boxes), "    end"]
    for box in sorted(edges):
        direct = {name for name in edges[box] if not any(_reaches(edges, other, name) for other in edges[box] - {name})}
        lines += [f"    {box} --> {name}" for name in sorted(direct)]
    return "\n".join(lines)


def _reaches(edges: dict[str, set[str]], start: str, goal: str) -> bool:
    seen, waiting = set(), [start]
    while waiting:
        for name in edges.get(waiting.pop(), ()):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def places() -> str:
    """Return a table of the effect of each word of the provider on the money in each place, computed by the rule."""
    from payments.rules.payment import apply
    from payments.rules.states import Event, Kind, Payout, Place, Request, State, Status, Word

    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    ordered, sending = {"payout": Payout.ORDERED, "ordered_at": now}, {"payout": Payout.SENDING, "ordered_at": now}
    rows: list[tuple[str, dict[str, object]]] = [
        ("not paid yet", {"status": Status.PENDING}),
        ("FAILED, no money", {"status": Status.FAILED}),
        ("received", {"place": Place.RECEIVED}),
        ("waiting for an opponent", {"place": Place.WAITING}),
        ("in a match", {"place": Place.IN_MATCH}),
        ("refund due", {"place": Place.REFUND_DUE}),
        ("refund ordered", {"place": Place.REFUND_TRANSIT, **ordered}),
        ("refund being sent", {"place": Place.REFUND_TRANSIT, **sending}),
        ("refunded", {"place": Place.REFUNDED}),
        ("prize payable", {"place": Place.PRIZE}),
        ("prize being sent", {"place": Place.PRIZE_TRANSIT, **sending}),
        ("prize paid", {"place": Place.PRIZE_PAID}),
        ("contested", {"place": Place.CONTESTED, "back": Place.REFUND_DUE, "word": Word.FAILED}),
        ("lost", {"place": Place.LOST, "back": Place.REFUNDED}),
    ]
    lines = ["| the money is | Successful | Failed | another word |", "|---|---|---|---|"]
    for name, values in rows:
        state = State(1000, request=Request.SENT, **({"status": Status.SUCCESS} | values))  # type: ignore[arg-type]
        cells = []
        for word in (Word.SUCCESSFUL, Word.FAILED, Word.OTHER):
            outcome = apply(state, Event(Kind.WORD, said=word, began=now + timedelta(seconds=1), polled=True), now)
            after = outcome.state
            said = [] if after.status is state.status else [after.status.value]
            if after.place is not state.place:
                said.append("contested" if after.place is Place.CONTESTED else after.place.value.replace("_", " "))
            shown = {"operator": "an operator decides", "pay_out": "the payout is sent"}
            said += [shown[effect.name] for effect in outcome.effects if effect.name in shown]
            cells.append(", ".join(said))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


_SAID = {"successful": "Successful", "failed": "Failed", "other": "another word"}


def _steps() -> list[tuple[Any, Any, Any, str, tuple[Any, ...]]]:
    """Return every change of place that the rule makes: place before, place after, kind, label and postings."""
    from payments.admin.wording import EVENTS
    from payments.rules.payment import TABLE, apply
    from payments.rules.states import Event, Kind, Payout, Place, Request, State, Status, Word

    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    paid = {"status": Status.SUCCESS, "word": Word.SUCCESSFUL, "ok_at": now, "request": Request.CLOSED}
    transit = [{"payout": Payout.ORDERED, "ordered_at": now}, {"payout": Payout.SENDING, "ordered_at": now}]
    starts: list[dict[str, Any]] = [{"request": Request.UNRESOLVED}, {"status": Status.FAILED}]
    for place in Place:
        more: list[dict[str, Any]] = transit if place.value.endswith("transit") else [{}]
        if place is Place.CONTESTED:
            more = [{"back": back, "word": Word.FAILED} for back in (Place.REFUND_DUE, Place.IN_MATCH, Place.PRIZE)]
        elif place is Place.LOST:
            more = [{"back": back} for back in (Place.REFUNDED, Place.PRIZE_PAID)]
        starts += [{"place": place} | paid | one for one in more]
    # An adoption can be any difference. A late success follows from an operator's error.
    kinds = [kind for kind in TABLE if kind not in (Kind.ADOPTED, Kind.LATE_SUCCESS)]
    found = []
    for start in starts:
        state = State(1000, 100, **start)
        for kind in kinds:
            for said in (Word.SUCCESSFUL, Word.FAILED, Word.OTHER) if kind is Kind.WORD else (Word.NONE,):
                event = Event(kind, said=said, began=now + timedelta(seconds=1), polled=True, actor="anna")
                outcome = apply(state, event, now)
                if not outcome.refusal and outcome.postings:
                    label = f"the provider says {_SAID[said.value]}" if kind is Kind.WORD else EVENTS[kind]
                    found.append((state.place, outcome.state.place, kind, label, outcome.postings))
    return found


def life() -> str:
    """Return a Mermaid diagram of the places of the money.

    Contradicting words of the provider are in the table of `places`.
    """
    from payments.rules.states import Kind, Place

    edges: dict[tuple[str, str], list[str]] = {}
    for before, after, kind, label, _ in _steps():
        contrary = kind is Kind.WORD and before is not Place.NONE
        if before is not after and not contrary and Place.LOST not in (before, after):
            labels = edges.setdefault((before.value or "not_paid", after.value or "gone"), [])
            if label not in labels:
                labels.append(label)
    lines = ["stateDiagram-v2", "    [*] --> not_paid"]
    # In Mermaid, a colon would end the label.
    for (before, after), labels in edges.items():
        lines.append(f"    {before} --> {after}: {', '.join(labels).replace(':', ',').lower()}")
    return "\n".join([*lines, "    refunded --> [*]", "    prize_paid --> [*]"])


def bookings() -> str:
    """Return a table of the postings of each event. A paid amount is the stake and the fee."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for _, _, _, label, postings in _steps():
        for posting in postings:
            what = {1000: "amount", 900: "stake", 100: "fee"}[posting.amount]
            labels = rows.setdefault((posting.debit.value, posting.credit.value, what), [])
            if label not in labels:
                labels.append(label)
    lines = ["| debit | credit | sum | booked when |", "|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{d}` | `{c}` | {what} | {'; '.join(labels)} |" for (d, c, what), labels in rows.items())]
    )


def pages() -> dict[Path, str]:
    """Return the documents with current generated blocks."""
    blocks = {
        PAGE: {"imports": f"```mermaid\n{imports()}\n```"},
        PAYMENTS: {"places": places(), "life": f"```mermaid\n{life()}\n```", "bookings": bookings()},
    }
    found = {}
    for path, bodies in blocks.items():
        text = path.read_text()
        for name, body in bodies.items():
            block = f"<!-- {name} -->\n{body}\n<!-- end -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        found[path] = text
    return found


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    sys.path.insert(0, str(ROOT))
    django.setup()
    for path, text in pages().items():
        path.write_text(text)

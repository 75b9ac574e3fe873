"""The inbox as a page: phones side by side, one a number, and the switches."""

import re
from dataclasses import asdict
from html import escape

from sms.sandbox.state import ANSWERS, METHODS, REPORTS, SENDS, TOKENS, Received, State

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
_STYLE = """
:root{color-scheme:light dark;--line:#8886;--bubble:#e7f0ea;--ink:#14241b}
@media(prefers-color-scheme:dark){:root{--bubble:#24382d;--ink:#e9f2ec}}
body{font:16px/1.4 system-ui,sans-serif;margin:0;padding:1rem}h1{font-size:1.3rem;margin:0 0 .5rem}
.phones{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
.phone{border:2px solid var(--line);border-radius:1.5rem;padding:1rem .8rem;width:min(19rem,100%);box-sizing:border-box}
.phone h2{font-size:1rem;text-align:center;margin:0 0 .6rem}
.texts{max-height:26rem;overflow-y:auto;display:flex;flex-direction:column;gap:.6rem}
.text{background:var(--bubble);color:var(--ink);border-radius:.2rem 1rem 1rem 1rem;padding:.5rem .7rem;
overflow-wrap:anywhere}.text time{display:block;font-size:.75rem;opacity:.75}
details{margin:1.2rem 0}form{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.6rem}
label{display:block;font-size:.85rem}select,input,button{font:inherit;width:100%;box-sizing:border-box;padding:.3rem}
input[type=checkbox]{width:auto}button{padding:.6rem}
"""
# The page is asked again only when something came, so that a text being read does not jump.
_SCRIPT = """
let seen=document.body.dataset.version;
setInterval(async()=>{try{const r=await fetch('/',{headers:{Accept:'text/html'}});
const d=new DOMParser().parseFromString(await r.text(),'text/html');
if(d.body.dataset.version!==seen){seen=d.body.dataset.version;
document.querySelector('.phones').replaceWith(d.querySelector('.phones'));down();}}catch(e){}},1000);
function down(){document.querySelectorAll('.texts').forEach(t=>t.scrollTop=t.scrollHeight);}down();
"""


def inbox(state: State) -> str:
    """The whole page."""
    with state.lock:
        shown = [message for message in state.messages if not message.hidden]
        values, version = asdict(state.faults), state.version
    phones: dict[str, list[Received]] = {}
    for message in shown:
        phones.setdefault(message.to, []).append(message)
    body = "".join(_phone(number, texts) for number, texts in phones.items())
    empty = "<p>No text has arrived yet. Each number that gets one has its phone here.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>SMS inbox</title><style>{_STYLE}</style></head>"
        f'<body data-version="{version}"><h1>SMS inbox of the DMark sandbox</h1>'
        f'<main class="phones" aria-live="polite">{body or empty}</main>'
        f"{_switches(values)}<script>{_SCRIPT}</script></body></html>"
    )


def _phone(number: str, messages: list[Received]) -> str:
    texts = "".join(
        f'<div class="text">{_linked(message.text)}<time>{escape(message.received_at[11:19])} UTC</time></div>'
        for message in messages
    )
    return f'<section class="phone"><h2>{escape(number)}</h2><div class="texts" tabindex="0">{texts}</div></section>'


def _linked(text: str) -> str:
    parts, last = [], 0
    for link in _LINK.finditer(text):
        parts += [escape(text[last : link.start()]), f'<a href="{escape(link[0])}">{escape(link[0])}</a>']
        last = link.end()
    return "".join([*parts, escape(text[last:])])


def _switches(values: dict[str, object]) -> str:
    fields = "".join(f"<label>{_LABELS[name]} {_control(name, value)}</label>" for name, value in values.items())
    return (
        '<details><summary>Faults and reports</summary><form method="post" action="/faults">'
        f"{fields}<button>Set</button></form>"
        '<form method="post" action="/reset"><button>Empty the inbox, all faults off</button></form></details>'
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

"""A client of the sandbox with payments, and helpers that use its page as a browser without JavaScript does."""

import re
from pathlib import Path
from typing import Any

import requests

from playmatatu.sandbox.money.server import Server
from sms import testing
from sms.sandbox.faults import Faults


class Sandbox(testing.Sandbox):
    server: Server

    def faults(self, **switches: Any) -> None:
        """Set switches without HTTP, because nearly every test sets some and a request takes 3 ms of CPU."""
        self.server.state.set_faults(switches)

    def prompts(self) -> list[dict[str, Any]]:
        """Return the open payment prompts, newest first.

        Keys: `sp_transaction_id`, `msisdn`, `amount`, `description`, `asked_at`.
        """
        return list(self._get("/prompts.json"))

    def tap(self, sp_transaction_id: str, answer: str) -> int:
        """Answer a payment prompt with `pay` or `decline`. Return the HTTP status, which is 409 for a closed prompt."""
        url = f"{self.url}/prompts/{sp_transaction_id}"
        return requests.post(url, json={"answer": answer}, timeout=5).status_code


def page(sandbox: testing.Sandbox, path: str = "/") -> str:
    answer = requests.get(sandbox.url + path, timeout=5)
    assert answer.status_code == 200
    return answer.text


def send(sandbox: testing.Sandbox, to: str, text: str) -> None:
    sandbox.server.state.take(to, text, "")


def switches(sandbox: testing.Sandbox) -> dict[str, Any]:
    return dict(requests.get(f"{sandbox.url}/faults", timeout=5).json())


def press(sandbox: testing.Sandbox, label: str) -> None:
    """Press a button on the page, without JavaScript."""
    form = re.search(rf"<form[^>]*>((?:<input[^>]*>)*)<button[^>]*>{re.escape(label)}</button>", page(sandbox))
    assert form, label
    fields = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', form[1]))
    assert requests.post(f"{sandbox.url}/faults", data=fields, timeout=5).status_code == 200


def assert_on_and_off(sandbox: testing.Sandbox, switch: Any, faults: type[Faults]) -> None:
    """Assert that the button of a switch sets its values, and that a second press resets them.

    `faults`: the class that holds the sandbox's switches.
    """
    requests.post(f"{sandbox.url}/well", timeout=5)
    if any(faults.default(name) != value for name, value in switch.on.items()):
        assert "No faults." in page(sandbox)
        press(sandbox, switch.label)
        assert "Faults on: " in page(sandbox)
    assert {name: switches(sandbox)[name] for name in switch.on} == switch.on
    assert f'aria-pressed="true">{switch.label}<' in page(sandbox)
    press(sandbox, switch.label)
    assert switches(sandbox) == vars(faults())


def assert_documented(faults: type[Faults]) -> None:
    """Assert that docs/sandbox.md names each switch and each of its values."""
    words = set(re.findall(r"`([^`]+)`", (Path(__file__).parents[1] / "docs" / "sandbox.md").read_text()))
    assert {name for name in faults.names() if not name.endswith(("_times", "_every"))} <= words
    assert {choice for name in faults.names() for choice in faults.choices(name) if not choice.isdigit()} <= words

"""The controls on the sandbox's page: a button for each common fault, and an input for each switch."""

from dataclasses import asdict
from typing import Any, NamedTuple

from sms.sandbox.faults import Faults


class Switch(NamedTuple):
    """An on/off switch, shown as a button on the page. `on`: the values that fields of `Faults` have while it is on."""

    label: str
    on: dict[str, Any]


class Button(NamedTuple):
    """The button that the page shows for a `Switch`. `sets`: the values that a click gives to fields of `Faults`."""

    label: str
    pressed: bool
    sets: dict[str, str]


class Control(NamedTuple):
    """An input for one field of `Faults`. `choices`: the valid values, or empty if all values of its type are valid."""

    name: str
    label: str
    value: str
    choices: list[str]


class Panel(NamedTuple):
    """The controls of a page. `groups`: the switches that the page shows as buttons, by group title."""

    groups: dict[str, tuple[Switch, ...]]

    def buttons(self, faults: Faults) -> list[tuple[str, list[Button]]]:
        return [(title, [_button(switch, faults) for switch in switches]) for title, switches in self.groups.items()]

    def changed(self, faults: Faults) -> list[str]:
        """Return the text `label: value` for each switch that differs from its default."""
        return [
            f"{faults.label(name).removeprefix('… ')}: {word(value)}"
            for name, value in asdict(faults).items()
            if value != faults.default(name)
        ]

    def controls(self, faults: Faults) -> list[Control]:
        return [
            Control(
                name,
                faults.label(name),
                word(value),
                ["false", "true"] if isinstance(value, bool) else faults.choices(name),
            )
            for name, value in asdict(faults).items()
        ]


TEXTS = Panel(
    groups={
        "SMS: faults": (
            Switch("DMark is down", {"token": "503", "token_times": 0, "send": "503", "send_times": 0, "dlr": "503"}),
            Switch("Slow: 3 s per response", {"latency_ms": 3000.0}),
            Switch("Never responds", {"send": "hang", "send_times": 0}),
            Switch("Resets the connection", {"send": "reset", "send_times": 0}),
            Switch("Accepts, reply lost", {"send": "taken_reset", "send_times": 0}),
            Switch("Gateway timeout (504)", {"send": "504", "send_times": 0}),
            Switch("Refuses the password", {"token": "401", "token_times": 0, "refuse_tokens": True}),
            Switch("No token on the usual path", {"token_path": "v3"}),
            Switch("Token expired (once)", {"send": "401", "send_times": 1}),
            Switch("Refuses the SMS", {"send": "400", "send_times": 0}),
            Switch("No credit", {"send_kind": "no_credit"}),
            Switch("No credit (HTTP 200)", {"send_kind": "no_credit_failed"}),
            Switch("Too many requests (429)", {"send": "429", "send_times": 0}),
            Switch("Replies Failed: 1", {"send_kind": "failed"}),
            Switch("Replies with a web page", {"send": "html", "send_times": 0}),
            Switch("Accepts, then loses the SMS", {"lose": True}),
        ),
        "Delivery reports": (
            Switch("Delivered", {"report": "delivered"}),
            Switch("Not delivered", {"report": "failed"}),
            Switch("Expired", {"report": "expired"}),
            Switch("Late: after 30 s", {"report": "late"}),
            Switch("Before the response", {"report": "before"}),
            Switch("Twice", {"report": "twice"}),
            Switch("The same report 5 times", {"report": "repeated"}),
            Switch("Out of order", {"report": "backwards"}),
            Switch("Numeric status codes", {"report": "numeric"}),
            Switch("No reports", {"report": "never"}),
        ),
    },
)


def _button(switch: Switch, faults: Faults) -> Button:
    pressed = all(getattr(faults, name) == value for name, value in switch.on.items())
    values = {name: faults.default(name) if pressed else value for name, value in switch.on.items()}
    return Button(switch.label, pressed, {name: word(value) for name, value in values.items()})


def word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)

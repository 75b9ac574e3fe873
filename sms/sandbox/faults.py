"""The switches of the sandbox, which select the faults to simulate. Some phone numbers have a fixed outcome."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

# Values of the switches `token`, `send` and `dlr`. `late` delays the correct response by `answer_after` seconds.
ANSWERS = (
    "ok 400 401 402 403 404 422 429 500 503 504 body_401 body_500 redirect hang slow late reset truncated html huge "
    "list empty not_json wrong_type nul"
).split()
# Faults that occur after the request was carried out. The client gets the correct response late or never.
TAKEN = "taken_hang taken_late taken_reset taken_truncated taken_500 taken_504 taken_html taken_empty".split()
EFFECTS = [*ANSWERS, *TAKEN]
_REPORTS = (
    "delivered failed pending never late twice backwards numeric before repeated "
    "delivrd expired rejected undeliv undeliverable blacklisted deleted odd_word"
).split()
# TIMES: label of each switch whose name ends in `_times`. EVERY: label of each switch whose name ends in `_every`.
TIMES, EVERY = "… for this many requests (0: always)", "… on every n-th request"

T = TypeVar("T")
F = TypeVar("F", bound="Faults")


class Special(NamedTuple):
    """A phone number with a fixed outcome. `on`: the values of the switches for requests about this number."""

    number: str
    outcome: str
    on: dict[str, Any]


SMS_NUMBERS = (
    Special("0770000003", "SMS accepted, then reported as not delivered", {"report": "failed"}),
    Special("0770000004", "DMark refuses the SMS (400)", {"send": "400"}),
    Special("0770000007", "SMS accepted, then lost", {"lose": True}),
    Special("0770000008", "SMS arrives, but no report comes, and polls return PENDING", {"report": "never"}),
    Special("0770000009", "SMS accepted, but the reply is lost", {"send": "taken_reset"}),
)


def national(number: str) -> str:
    """Convert `256772…` and `+256772…` to `0772…`. Return any other text unchanged."""
    digits = number.removeprefix("+")
    return "0" + digits[3:] if len(digits) == 12 and digits.isdigit() and digits.startswith("256") else number


class Fault(NamedTuple):
    """The fault of one request, or `ok`. `taken`: True if the request is carried out before the fault occurs."""

    name: str
    taken: bool


def switch(label: str, default: T, choices: Sequence[str] = ()) -> T:
    """Define a switch as a dataclass field of `Faults`. `choices`: the valid values, or () for any value."""
    return field(default=default, metadata={"label": label, "choices": choices})


@dataclass
class Faults:
    """The sandbox's switches, which select the faults to simulate.

    `<name>_times`: after this many faulty requests, the switch `<name>` returns to `ok` (0: never). `<name>_every`:
    only every n-th request is faulty.
    """

    NUMBERS: ClassVar[tuple[Special, ...]] = SMS_NUMBERS

    token: str = switch("Token request", "ok", ANSWERS)
    token_times: int = switch(TIMES, 0)
    token_kind: str = switch("Kind of token", "jwt", "jwt no_exp past opaque missing".split())
    token_life: float = switch("Token lifetime (s)", 86400.0)
    token_path: str = switch("Paths that issue a token", "both", "both api v3".split())
    send: str = switch("Sending", "ok", EFFECTS)
    send_times: int = switch(TIMES, 0)
    send_every: int = switch(EVERY, 1)
    send_kind: str = switch(
        "Format of the acceptance", "detail", "detail top no_id failed submitted_0 no_credit no_credit_failed".split()
    )
    dlr: str = switch("Report request", "ok", ANSWERS)
    lose: bool = switch("Lose SMS after accepting them", default=False)
    refuse_tokens: bool = switch("Refuse every token", default=False)
    refusal: str = switch("Description sent for a refused account", "Insufficient credit")
    latency_ms: float = switch("Latency (ms)", 0.0)
    report: str = switch("Delivery reports", "delivered", _REPORTS)
    report_after: float = switch("Report after (s)", 1.0)
    report_method: str = switch("Reports are sent as", "json", "json form get".split())
    retry_after: float = switch("Retry-After of a 429 (s)", 1.0)
    answer_after: float = switch("Late response: delay (s)", 5.0)
    hang_seconds: float = switch("Hang for (s)", 30.0)
    late_seconds: float = switch("Late reports and notifications: delay (s)", 30.0)

    @classmethod
    def names(cls) -> list[str]:
        return [one.name for one in fields(cls)]

    @classmethod
    def default(cls, name: str) -> Any:
        return cls.__dataclass_fields__[name].default

    @classmethod
    def label(cls, name: str) -> str:
        return str(cls.__dataclass_fields__[name].metadata["label"])

    @classmethod
    def choices(cls, name: str) -> list[str]:
        """Return the valid values of a switch, or an empty list if all values of its type are valid."""
        return list(cls.__dataclass_fields__[name].metadata["choices"])

    def of_number(self: F, number: str) -> F:
        """Return the switches for requests about `number`. A number with a fixed outcome overrides some switches."""
        return replace(self, **self.special(number))

    def special(self, number: str) -> dict[str, Any]:
        return next((each.on for each in self.NUMBERS if each.number == national(number)), {})

    def update(self, values: dict[str, Any]) -> None:
        """Set the given switches.

        If a name or value is invalid, set none of them and raise ValueError with a sentence for the user.
        """
        checked = {name: self._checked(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    def _checked(self, name: str, value: Any) -> Any:
        if name not in self.names():
            raise ValueError(f"There is no switch {name!r}; there are: {', '.join(self.names())}.")
        default = self.default(name)
        if choices := self.choices(name):
            if str(value) not in choices:
                raise ValueError(f"{name} is one of: {', '.join(choices)}.")
            return str(value)
        if isinstance(default, str):
            return str(value)[:200]
        if isinstance(default, bool):
            return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "on", "yes")
        try:
            number = type(default)(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{name} must be a number.") from None
        if not 0 <= number < 1e9:
            raise ValueError(f"{name} must be between 0 and 1,000,000,000.")
        return number

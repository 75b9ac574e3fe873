"""The switches: what the stand-in does other than it should, and how its phones answer."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

# Each fault by the place it applies to; `ok` is none, `late` the right answer after `answer_after` seconds.
ANSWERS = (
    "ok 400 401 402 403 404 422 429 500 503 504 body_401 body_500 redirect hang slow late reset truncated html huge "
    "list empty not_json wrong_type nul"
).split()
# Where a request has an effect: it is done first, then this is answered.
TAKEN = "taken_hang taken_late taken_reset taken_truncated taken_500 taken_504 taken_html taken_empty".split()
EFFECTS = [*ANSWERS, *TAKEN]

CHOICES: dict[str, list[str]] = {
    "token": ANSWERS,
    "token_kind": "jwt no_exp past opaque missing".split(),
    "token_path": "both api v3".split(),
    "send": EFFECTS,
    "send_kind": "detail top no_id failed submitted_0 no_credit no_credit_failed".split(),
    "dlr": ANSWERS,
    "report": (
        "delivered failed pending never late twice backwards numeric before repeated "
        "delivrd expired rejected undeliv undeliverable blacklisted deleted odd_word"
    ).split(),
    "report_method": "json form get".split(),
    "pay_token": ANSWERS,
    "payin": EFFECTS,
    "payin_kind": "pending successful failed refused no_id odd_word".split(),
    "payin_again": "twice refused same".split(),
    "pay_status": ANSWERS,
    "payout": EFFECTS,
    "payout_kind": "successful failed pending refused no_id odd_word".split(),
    "pay_words": "Title UPPER lower".split(),
    "phones": "ask pay decline unreached".split(),
    "callback": "after late never twice pending_first before contradicts lies reverses reverses_unseen garbage".split(),
    "reversal": "opposite Reversed".split(),
    "pay_stale": "403 401 403_html".split(),
    "callback_method": "json put form".split(),
}


class Fault(NamedTuple):
    """What befalls one request. `taken`: after it had its effect."""

    name: str
    taken: bool


@dataclass
class Faults:
    """`*_times`: for so many requests only, then `ok` again; 0: until switched back. `*_every`: each so many-th."""

    # --- texts
    token: str = "ok"  # noqa: S105
    token_times: int = 0
    token_kind: str = "jwt"  # noqa: S105
    token_life: float = 86400.0
    token_path: str = "both"  # noqa: S105
    send: str = "ok"
    send_times: int = 0
    send_every: int = 1
    send_kind: str = "detail"
    dlr: str = "ok"
    lose: bool = False
    refuse_tokens: bool = False
    refusal: str = "Insufficient credit"
    latency_ms: float = 0.0
    report: str = "delivered"
    report_after: float = 1.0
    report_method: str = "json"
    # --- money
    pay_token: str = "ok"  # noqa: S105
    pay_token_times: int = 0
    pay_token_life: float = 36000.0
    pay_token_uses: int = 0
    # The response to a token that has expired.
    pay_stale: str = "403"
    payin: str = "ok"
    payin_times: int = 0
    payin_every: int = 1
    payin_kind: str = "pending"
    payin_again: str = "twice"
    pay_status: str = "ok"
    pay_status_times: int = 0
    pay_unknown_for: float = 0.0
    payout: str = "ok"
    payout_times: int = 0
    payout_kind: str = "successful"
    pay_words: str = "Title"
    pay_latency_ms: float = 0.0
    phones: str = "ask"
    phones_after: float = 0.0
    phones_seconds: float = 120.0
    broke: bool = False
    callback: str = "after"
    callback_after: float = 0.2
    # The status word of a payment that is taken back.
    reversal: str = "opposite"
    callback_method: str = "json"
    # --- both
    retry_after: float = 1.0
    answer_after: float = 5.0
    hang_seconds: float = 30.0
    late_seconds: float = 30.0

    def update(self, values: dict[str, Any]) -> None:
        """All or nothing. Raises ValueError with one sentence."""
        checked = {name: _checked(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, name, value)


USUAL = Faults()
NAMES = [field.name for field in fields(Faults)]


def _checked(name: str, value: Any) -> Any:
    if name not in NAMES:
        raise ValueError(f"There is no switch {name!r}; there are: {', '.join(NAMES)}.")
    usual = getattr(USUAL, name)
    if name in CHOICES:
        if str(value) not in CHOICES[name]:
            raise ValueError(f"{name} is one of: {', '.join(CHOICES[name])}.")
        return str(value)
    if isinstance(usual, str):
        return str(value)[:200]
    if isinstance(usual, bool):
        return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "on", "yes")
    try:
        number = type(usual)(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number.") from None
    if not 0 <= number < 1e9:
        raise ValueError(f"{name} must be a number from 0 on.")
    return number

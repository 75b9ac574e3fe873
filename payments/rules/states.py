"""The types for the rules of a payment: its state, events, postings and effects.

Amounts are whole UGX. The enum values are stored in the database and must not change.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple


class Status(str, Enum):
    PENDING, SUCCESS, FAILED = "PENDING", "SUCCESS", "FAILED"


class Request(str, Enum):
    """The state of our payment request, with the values of the column `Payment.collection`."""

    NONE, DUE, SENDING, SENT = "", "due", "asking", "asked"
    AMBIGUOUS, UNRESOLVED, WITHDRAWN, CLOSED = "in_doubt", "unresolved", "withdrawn", "over"


class Word(str, Enum):
    """The status that the provider reported for a payment.

    OTHER: an unknown status word. NONE: no status, or only Pending.
    """

    NONE, SUCCESSFUL, FAILED, OTHER = "", "successful", "failed", "other"


class Place(str, Enum):
    """The place of a payment's money, usually the ledger account with the same name.

    At NONE, REFUNDED, PRIZE_PAID and LOST, we owe nobody the money.
    """

    NONE, RECEIVED, WAITING, IN_MATCH = "", "received", "waiting", "in_match"
    REFUND_DUE, REFUND_TRANSIT, REFUNDED = "refund_due", "refund_transit", "refunded"
    PRIZE, PRIZE_TRANSIT, PRIZE_PAID = "prize", "prize_transit", "prize_paid"
    CONTESTED, LOST = "contested", "lost"


class Payout(str, Enum):
    """The state of an ordered payout. A payout is either a refund or a prize."""

    NONE, ORDERED, SENDING, AMBIGUOUS = "", "ordered", "sending", "ambiguous"


class Account(str, Enum):
    """Ledger accounts.

    PROVIDER, ELSEWHERE: assets. LOST, FEES: expenses. COMMISSION: income. OPENING: the counterpart of money from before
    the ledger. WITHDRAWALS: money that the owner took out. All other accounts: money that we owe, named as in `Place`.
    """

    PROVIDER, ELSEWHERE, LOST, COMMISSION, OPENING = "provider", "elsewhere", "lost", "commission", "opening"
    RECEIVED, WAITING, IN_MATCH, CONTESTED = "received", "waiting", "in_match", "contested"
    REFUND_DUE, REFUND_TRANSIT, PRIZE, PRIZE_TRANSIT = "refund_due", "refund_transit", "prize", "prize_transit"
    FEES, WITHDRAWALS = "fees", "withdrawals"


# Accounts whose balance is debit minus credit.
ASSETS = (Account.PROVIDER, Account.ELSEWHERE, Account.LOST, Account.FEES, Account.WITHDRAWALS)


class Kind(str, Enum):
    REQUESTED = "requested"
    APPROVED = "approved"
    CLAIMED = "claimed"
    REQUEST_PENDING = "request_pending"
    REQUEST_AMBIGUOUS = "request_ambiguous"
    REQUEST_NOT_TAKEN = "request_not_taken"
    WITHDRAWN = "withdrawn"
    GIVEN_UP = "given_up"
    UNRESOLVED = "unresolved"
    WORD = "word"
    POLLED = "polled"
    NOTIFIED = "notified"
    ACTIVATED = "activated"
    HELD = "held"
    MATCHED = "matched"
    UNUSED = "unused"
    ORDERED = "payout_ordered"
    ORDER_WITHDRAWN = "payout_withdrawn"
    PAYOUT_CLAIMED = "payout_claimed"
    PAYOUT_SUCCESSFUL = "payout_successful"
    PAYOUT_FAILED = "payout_failed"
    PAYOUT_NOT_TAKEN = "payout_not_taken"
    PAYOUT_AMBIGUOUS = "payout_ambiguous"
    LATE_SUCCESS = "payout_late_success"
    RETURNED = "payout_returned"
    BY_HAND = "by_hand"
    SETTLED_PAID = "settled_paid"
    SETTLED_UNPAID = "settled_unpaid"
    CONTEST_WITH_US = "contest_with_us"
    CONTEST_GONE = "contest_gone"
    RESULT = "result"
    WON = "won"
    GIVEN_BACK = "given_back"
    HOUSE_PAID = "house_paid"
    ADOPTED = "adopted"


class State(NamedTuple):
    """The state of one payment. Amounts are whole UGX."""

    amount: int
    fee: int = 0
    ours: bool = True  # True if we send the payment request and poll the status.
    approved: bool = False  # True if the payment counts as paid although no money has arrived.
    request: Request = Request.NONE
    status: Status = Status.PENDING
    word: Word = Word.NONE  # The provider's last answer.
    word_at: datetime | None = None  # The time of the provider's last answer (`Event.began`).
    other_since: datetime | None = None  # The time since which the status word has been unknown.
    ok_at: datetime | None = None  # The start of the last poll that said Successful. Ordering a payout clears it.
    owed_since: datetime | None = None  # The time of the last callback or notification that waits for a poll's answer.
    place: Place = Place.NONE
    back: Place = Place.NONE  # The place to which contested or lost money returns.
    payout: Payout = Payout.NONE
    ordered_at: datetime | None = None
    settled_by: str = ""  # The operator whose decision replaces the provider's answer.
    house_share: bool = False  # True if the house paid this payment's share of a prize.


@dataclass(frozen=True, slots=True)
class Event:
    """An event of one payment."""

    kind: Kind
    said: Word = Word.NONE  # The provider's answer.
    began: datetime | None = None  # The start of the poll or payment request, or the time of the callback.
    polled: bool = False  # True if the answer comes from a poll.
    actor: str = ""
    elsewhere: bool = False  # True if a payout by hand was not made from our account at the provider.
    alone: bool = False  # True if one operator may both settle a payment and pay it out.
    late: bool = False  # True if it is too late to send the payment request again.
    # LATE_SUCCESS: refund_due or prize. WORD: the place of money that arrives for a stake approved without money.
    place: Place = Place.NONE
    becomes: State | None = None  # Only for ADOPTED: the state in the payment's columns.


def facts_of(event: Event) -> dict[str, Any]:
    """Return the data of an event for the journal's column `facts`."""
    facts: dict[str, Any] = {name: True for name in ("polled", "elsewhere", "alone", "late") if getattr(event, name)}
    if event.began is not None:
        facts["began"] = event.began.isoformat()
    if event.place is not Place.NONE:
        facts["place"] = event.place.value
    if event.becomes is not None:
        found = event.becomes._asdict()
        facts["becomes"] = {
            name: value.isoformat() if isinstance(value, datetime) else getattr(value, "value", value)
            for name, value in found.items()
            if value not in (None, "", False)
        }
    return facts


def event_of(kind: str, said: str, actor: str, facts: dict[str, Any]) -> Event:
    """Return the event that a journal row with these columns records."""
    became = facts.get("becomes")
    return Event(
        Kind(kind),
        said=Word(said),
        began=_moment(facts.get("began")),
        polled=bool(facts.get("polled")),
        actor=actor,
        elsewhere=bool(facts.get("elsewhere")),
        alone=bool(facts.get("alone")),
        late=bool(facts.get("late")),
        place=Place(facts.get("place", "")),
        becomes=None if became is None else _read_state(became),
    )


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


_TYPES = {"request": Request, "status": Status, "word": Word, "place": Place, "back": Place, "payout": Payout}
_TIMES = ("word_at", "other_since", "ok_at", "owed_since", "ordered_at")


def _read_state(values: dict[str, Any]) -> State:
    read = {name: _TYPES[name](value) if name in _TYPES else value for name, value in values.items()}
    read |= {name: _moment(read[name]) for name in _TIMES if name in read}
    read.setdefault("ours", False)
    return State(**read)


class Posting(NamedTuple):
    debit: Account
    credit: Account
    amount: int


class Effect(NamedTuple):
    """Something to do after an event. `name`: a key of EFFECTS. `detail`: a reason, or a status of the payment."""

    name: str
    detail: str = ""


EFFECTS = {
    "request": "send the payment request",
    "poll": "poll the payment status now",
    "poll_later": "poll the payment status after a day",
    "pay_out": "send the payout",
    "cancel_payout": "the payout that was ordered is not sent",
    "settled": "signal `momo_status_changed`",
    "repeated": "signal `momo_success_repeated`",
    "contested": "signal `payment_contested`",
    "contested_again": "signal `payment_contested`, for a receiver that failed",
    "refunded": "signal `payment_refunded`",
    "prize_paid": "signal `prize_paid`",
    "lost": "signal `payment_lost`",
    "leave_queue": "the entry leaves the queue",
    "operator": "shown to the operator",
    "alarm": "given out twice: error in the log, shown to the operator",
    "refused": "nothing changes",
}


class Outcome(NamedTuple):
    state: State
    effects: tuple[Effect, ...] = ()
    postings: tuple[Posting, ...] = ()

    @property
    def refusal(self) -> str:
        """Return the reason why the event was refused, or "" if it was not."""
        return next((effect.detail for effect in self.effects if effect.name == "refused"), "")

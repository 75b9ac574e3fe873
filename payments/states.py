"""The vocabulary of the rule: the state of one payment, its events, postings and effects. Small frozen values.

Amounts are whole UGX. The stored values of the enums are fixed: rows and journal entries hold them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple


class Status(str, Enum):
    PENDING, SUCCESS, FAILED = "PENDING", "SUCCESS", "FAILED"


class Request(str, Enum):
    """State of our payment request. The values are those of `Payment.collection`."""

    NONE, DUE, SENDING, SENT = "", "due", "asking", "asked"
    AMBIGUOUS, UNRESOLVED, WITHDRAWN, CLOSED = "in_doubt", "unresolved", "withdrawn", "over"


class Word(str, Enum):
    """A complete answer of the provider about the payment. Other answers do not reach the rule."""

    NONE, SUCCESSFUL, FAILED, OTHER = "", "successful", "failed", "other"


class Place(str, Enum):
    """The account that holds the money; NONE, REFUNDED, PRIZE_PAID and LOST hold none of it."""

    NONE, RECEIVED, WAITING, IN_MATCH = "", "received", "waiting", "in_match"
    REFUND_DUE, REFUND_TRANSIT, REFUNDED = "refund_due", "refund_transit", "refunded"
    PRIZE, PRIZE_TRANSIT, PRIZE_PAID = "prize", "prize_transit", "prize_paid"
    CONTESTED, LOST = "contested", "lost"


class Payout(str, Enum):
    """State of the refund or prize that is on its way."""

    NONE, ORDERED, SENDING, AMBIGUOUS = "", "ordered", "sending", "ambiguous"


class Account(str, Enum):
    """Ledger accounts. Those of the places are owed; provider and elsewhere are assets."""

    PROVIDER, ELSEWHERE, LOST, COMMISSION, OPENING = "provider", "elsewhere", "lost", "commission", "opening"
    RECEIVED, WAITING, IN_MATCH, CONTESTED = "received", "waiting", "in_match", "contested"
    REFUND_DUE, REFUND_TRANSIT, PRIZE, PRIZE_TRANSIT = "refund_due", "refund_transit", "prize", "prize_transit"


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


@dataclass(frozen=True, slots=True)
class State:
    """Amounts are whole UGX. `ours`: we request and poll it. `approved`: counted as paid without any money.

    `word_at`: when the poll that gave `word` began; `ok_at`: the same of the last Successful answer to a poll.
    `settled_by`: the operator whose word stands instead of the provider's. `house_share`: the house paid this
    payment's share of a prize. `back`: where contested or lost money returns to.
    """

    amount: int
    fee: int = 0
    ours: bool = True
    approved: bool = False
    request: Request = Request.NONE
    status: Status = Status.PENDING
    word: Word = Word.NONE
    word_at: datetime | None = None
    other_since: datetime | None = None
    ok_at: datetime | None = None
    owed_since: datetime | None = None
    place: Place = Place.NONE
    back: Place = Place.NONE
    payout: Payout = Payout.NONE
    ordered_at: datetime | None = None
    settled_by: str = ""
    house_share: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """`began`: when the poll began that `said` answers; `polled`: whether `said` answers a poll.

    `elsewhere`: paid by hand from another pocket than the provider's account. `alone`: one operator may do both steps.
    `place`: where the use of an approved payment is. `becomes`: the state that an adoption found.
    """

    kind: Kind
    said: Word = Word.NONE
    began: datetime | None = None
    polled: bool = False
    actor: str = ""
    elsewhere: bool = False
    alone: bool = False
    late: bool = False
    place: Place = Place.NONE
    becomes: State | None = None


class Posting(NamedTuple):
    debit: Account
    credit: Account
    amount: int


class Effect(NamedTuple):
    """`name` is one of EFFECTS; `detail` is its reason, or the status before."""

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
        """Why the event was refused; "" if it was not."""
        return next((effect.detail for effect in self.effects if effect.name == "refused"), "")

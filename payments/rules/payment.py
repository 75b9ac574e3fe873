"""The rules for one payment: `apply(state, event, now)` returns the next state, effects and postings.

`apply` uses no database, HTTP or clock. A payment's state is the result of applying all of its events. The payment's
row only caches this state.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from payments.rules.states import (
    Account,
    Effect,
    Event,
    Kind,
    Outcome,
    Payout,
    Place,
    Posting,
    Request,
    State,
    Status,
    Word,
)

UNKNOWN_WORD_AFTER = timedelta(hours=1)
IN_USE = (Place.RECEIVED, Place.WAITING, Place.IN_MATCH)
_TRANSIT = {Place.REFUND_DUE: Place.REFUND_TRANSIT, Place.PRIZE: Place.PRIZE_TRANSIT}
_OWED = {transit: due for due, transit in _TRANSIT.items()}
_DONE = {Place.REFUND_DUE: Place.REFUNDED, Place.PRIZE: Place.PRIZE_PAID}
_RETURNS = {done: due for due, done in _DONE.items()}
_P = Account.PROVIDER


def share_of(state: State, due: Place) -> int:
    """Return the part of a payment, in UGX, that is paid out: stake and fee in a refund, only the stake in a prize."""
    return state.amount - state.fee if due is Place.PRIZE else state.amount


def balances(state: State) -> dict[Account, int]:
    """Return the balances that the ledger must have for a payment in this state."""
    place = state.place
    fee = {} if state.house_share or not state.fee else {Account.COMMISSION: state.fee}
    if place in (Place.NONE, Place.REFUNDED):
        return {}
    if place in (Place.PRIZE, Place.PRIZE_TRANSIT):
        return {Account(place.value): state.amount - state.fee, **fee}
    if place is Place.PRIZE_PAID or (place is Place.LOST and state.back is Place.PRIZE_PAID):
        return fee
    return {} if place is Place.LOST else {Account(place.value): state.amount}


def differences(before: dict[Account, int], after: dict[Account, int]) -> tuple[Posting, ...]:
    """Return the postings that turn the balances `before` into `after`. The account `opening` takes the difference."""
    return _between(before, after, Account.OPENING)


def operator_may_decide(state: State, now: datetime) -> bool:
    """For a payment that we request, return True if an operator may mark it as paid or not paid."""
    if state.status is not Status.PENDING:
        return False
    if state.request in (Request.AMBIGUOUS, Request.UNRESOLVED):
        return True
    return state.other_since is not None and now - state.other_since >= UNKNOWN_WORD_AFTER


def may_pay_out(state: State) -> bool:
    """Return True if an ordered payout may be sent.

    A share that the house pays needs no poll. For any other share, a poll that began after the order must have returned
    Successful. The payment must also have no callback or notification that waits for a poll's answer.
    """
    if state.house_share:
        return True
    confirmed = state.ok_at is not None and state.ordered_at is not None and state.ok_at > state.ordered_at
    return state.word is Word.SUCCESSFUL and confirmed and state.owed_since is None


def is_contested(state: State) -> bool:
    """Return True if the provider contradicted the payment's final status, and this contradiction is still open."""
    late = state.status is Status.FAILED and state.place in (Place.REFUND_DUE, Place.REFUND_TRANSIT)
    return late or state.place is Place.CONTESTED


# A function that handles one kind of event. `TABLE` contains one handler for each kind.
Handler = Callable[[State, Event, datetime], Outcome]
TABLE: dict[Kind, Handler] = {}


def _on(*kinds: Kind) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        TABLE.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def apply(state: State, event: Event, now: datetime) -> Outcome:
    """Return the next state, effects and postings.

    If the event does not fit, the state does not change and the effect is `refused`.
    """
    return TABLE[event.kind](state, event, now)


def _refused(state: State, why: str) -> Outcome:
    return Outcome(state, (Effect("refused", why),))


def _move(state: State, place: Place, *effects: Effect, via: Account | None = None) -> Outcome:
    """Move all money of the payment to `place`.

    `via`: the account for the difference, if the move changes the sum of the balances.
    """
    before, after = balances(state), balances(state._replace(place=place))
    return Outcome(state._replace(place=place), effects, _between(before, after, via))


def _between(before: dict[Account, int], after: dict[Account, int], via: Account | None) -> tuple[Posting, ...]:
    """Return the postings that turn the credit balances `before` into `after`.

    `via`: the account for the difference, if their sums differ.
    """
    change = {account: after.get(account, 0) - before.get(account, 0) for account in (*before, *after)}
    down = {account: -amount for account, amount in change.items() if amount < 0}
    up = {account: amount for account, amount in change.items() if amount > 0}
    missing = sum(up.values()) - sum(down.values())
    if missing and via is not None:
        side = down if missing > 0 else up
        side[via] = side.get(via, 0) + abs(missing)
    found = []
    for debit in list(down):
        for credit in list(up):
            amount = min(down[debit], up[credit])
            if amount:
                found.append(Posting(debit, credit, amount))
                down[debit] -= amount
                up[credit] -= amount
    return tuple(found)


def _after(outcome: Outcome, *effects: Effect, postings: tuple[Posting, ...] = (), **changes: object) -> Outcome:
    state = outcome.state._replace(**changes) if changes else outcome.state  # type: ignore[arg-type]
    return Outcome(state, (*outcome.effects, *effects), (*outcome.postings, *postings))


# Events about the payment request


@_on(Kind.REQUESTED)
def _requested(state: State, event: Event, now: datetime) -> Outcome:
    if state.status is not Status.PENDING or state.request is not Request.NONE:
        return _refused(state, "It was requested before.")
    return Outcome(state._replace(request=Request.DUE), (Effect("request"),)) if state.ours else Outcome(state)


@_on(Kind.APPROVED)
def _approved(state: State, event: Event, now: datetime) -> Outcome:
    return Outcome(state._replace(status=Status.SUCCESS, approved=True))


@_on(Kind.CLAIMED)
def _claimed(state: State, event: Event, now: datetime) -> Outcome:
    if state.request is not Request.DUE:
        return _refused(state, "The payment request is not due.")
    return Outcome(state._replace(request=Request.SENDING), (Effect("request"),))


@_on(Kind.REQUEST_PENDING, Kind.REQUEST_AMBIGUOUS)
def _request_answered(state: State, event: Event, now: datetime) -> Outcome:
    if state.request not in (Request.SENDING, Request.AMBIGUOUS):
        return _refused(state, "The payment request is not under way.")
    if event.kind is Kind.REQUEST_PENDING:
        return Outcome(state._replace(request=Request.SENT), (Effect("poll_later"),))
    if state.request is Request.AMBIGUOUS:
        return Outcome(state)
    return Outcome(state._replace(request=Request.AMBIGUOUS), (Effect("poll_later"),))


@_on(Kind.REQUEST_NOT_TAKEN)
def _request_not_taken(state: State, event: Event, now: datetime) -> Outcome:
    if state.request not in (Request.SENDING, Request.AMBIGUOUS):
        return _refused(state, "The payment request is not under way.")
    if event.late:
        return _end(state, Status.FAILED)
    return Outcome(state._replace(request=Request.DUE), (Effect("request"),))


@_on(Kind.WITHDRAWN, Kind.GIVEN_UP)
def _withdrawn(state: State, event: Event, now: datetime) -> Outcome:
    if state.request is not Request.DUE or state.status is not Status.PENDING:
        return _refused(state, "The payment request is not due.")
    if event.kind is Kind.GIVEN_UP:
        return _end(state, Status.FAILED)
    return Outcome(state._replace(request=Request.WITHDRAWN))


@_on(Kind.UNRESOLVED)
def _unresolved(state: State, event: Event, now: datetime) -> Outcome:
    if state.status is not Status.PENDING or state.request not in (Request.SENT, Request.AMBIGUOUS):
        return _refused(state, "It has a status, or was not requested.")
    return Outcome(state._replace(request=Request.UNRESOLVED), (Effect("operator", "no answer for a day"),))


def _end(state: State, status: Status) -> Outcome:
    """Give a PENDING payment its final status. SUCCESS books the money as received."""
    request = Request.CLOSED if state.request not in (Request.NONE, Request.WITHDRAWN) else state.request
    ended = state._replace(status=status, request=request)
    settled = Effect("settled", state.status.value)
    return _move(ended, Place.RECEIVED, settled, via=_P) if status is Status.SUCCESS else Outcome(ended, (settled,))


# Events about answers of the provider


@_on(Kind.NOTIFIED)
def _notified(state: State, event: Event, now: datetime) -> Outcome:
    if not state.ours:
        return _refused(state, "Another party collects it.")
    return Outcome(state._replace(owed_since=now), (Effect("poll"),))


@_on(Kind.WORD)
def _word(state: State, event: Event, now: datetime) -> Outcome:
    began = event.began or now
    # If a stored time is in the future but `began` is not, the database's clock was set back before this poll began. So
    # this poll counts as the later one.
    if state.word_at is not None and began < state.word_at and not began <= now < state.word_at:
        if event.said is state.word:
            return Outcome(state)
        # A later poll has already brought a different answer. Poll again to decide.
        return Outcome(state, (Effect("poll"),))
    other_since = (state.other_since or now) if event.said is Word.OTHER else None
    known = state._replace(word=event.said, word_at=began, other_since=other_since)
    if event.said is Word.SUCCESSFUL:
        known = known._replace(settled_by="", ok_at=began if event.polled else state.ok_at)
    again: tuple[Effect, ...] = ()
    if state.owed_since is not None and event.polled:
        if began > state.owed_since or now < state.owed_since:
            known = known._replace(owed_since=None)
        else:
            again = (Effect("poll"),)
    return _after(_WORDS[event.said](known, state, event), *again)


def _successful(state: State, before: State, event: Event) -> Outcome:
    place = state.place
    if state.status is Status.PENDING:
        return _end(state, Status.SUCCESS)
    if state.house_share:
        mine = state._replace(house_share=False, approved=False)
        return Outcome(mine, (), _between(balances(state), balances(mine), _P) + _house_repaid(state))
    if place is Place.NONE and state.approved:
        return _after(_move(state, event.place or Place.RECEIVED, via=_P), approved=False)
    if place is Place.NONE:
        return _move(state, Place.REFUND_DUE, Effect("contested", Status.SUCCESS.value), via=_P)
    if place is Place.LOST:
        posted = (Posting(_P, Account.LOST, state.amount),)
        return Outcome(state._replace(place=state.back, back=Place.NONE), (), posted)
    if place is Place.RECEIVED:
        return Outcome(state, (Effect("repeated"),))
    if place in _OWED and state.payout is Payout.ORDERED and may_pay_out(state):
        return Outcome(state, (Effect("pay_out"),))
    if place is Place.CONTESTED and before.word is not Word.SUCCESSFUL:
        return Outcome(state, (Effect("operator", "Successful again"),))
    if place is Place.REFUND_DUE and state.status is Status.FAILED:
        return Outcome(state, (Effect("contested_again", Status.SUCCESS.value),))
    if place in (Place.WAITING, Place.IN_MATCH, Place.REFUND_DUE):
        return Outcome(state, (Effect("repeated"),))
    return Outcome(state)


def _house_repaid(state: State) -> tuple[Posting, ...]:
    """Return the posting that reverses the house's expense for a share, because the player's payment arrived."""
    return (Posting(_P, Account.LOST, state.amount - state.fee),)


def _contrary(state: State, before: State, event: Event) -> Outcome:
    """Handle the status word Failed, and unknown status words. An earlier word may have been Successful."""
    place, failed = state.place, event.said is Word.FAILED
    if state.status is Status.PENDING:
        return _end(state, Status.FAILED) if failed else Outcome(state)
    if place is Place.CONTESTED:
        return Outcome(state, (Effect("contested_again", Status.FAILED.value),))
    if state.house_share or place in (Place.NONE, Place.LOST):
        return Outcome(state)
    told = Effect("contested", Status.FAILED.value)
    if place in IN_USE or place in _TRANSIT:
        back = place if place in (Place.IN_MATCH, Place.PRIZE) else Place.REFUND_DUE
        moved = _after(_move(state, Place.CONTESTED, told), back=back)
        return _after(moved, Effect("leave_queue")) if place in (Place.RECEIVED, Place.WAITING) else moved
    if place in _OWED and state.payout is Payout.ORDERED:
        moved = _move(state, Place.CONTESTED, told, Effect("cancel_payout"))
        return _after(moved, back=_OWED[place], payout=Payout.NONE, ordered_at=None)
    if place in _OWED:  # The payout is being sent or is ambiguous. Wait for its result.
        return Outcome(state)
    return _lose(state) if failed else Outcome(state, (Effect("operator", "another word after the payout"),))


_WORDS = {Word.SUCCESSFUL: _successful, Word.FAILED: _contrary, Word.OTHER: _contrary}


def _lose(state: State) -> Outcome:
    """Book money as lost: we have paid it out, and the provider has also taken it back."""
    lost = state._replace(place=Place.LOST, back=state.place)
    return Outcome(lost, (Effect("lost"),), (Posting(Account.LOST, _P, state.amount),))


# The game reports how it uses the money.


@_on(Kind.ACTIVATED, Kind.HELD, Kind.MATCHED, Kind.UNUSED)
def _used(state: State, event: Event, now: datetime) -> Outcome:
    start, end = {
        Kind.ACTIVATED: (Place.RECEIVED, Place.WAITING),
        Kind.HELD: (Place.RECEIVED, Place.REFUND_DUE),
        Kind.MATCHED: (Place.WAITING, Place.IN_MATCH),
        Kind.UNUSED: (Place.WAITING, Place.REFUND_DUE),
    }[event.kind]
    if state.approved and state.place is Place.NONE:
        return Outcome(state)  # No money has arrived for this approved stake.
    return _move(state, end) if state.place is start else _refused(state, f"The money is not in {start.value}.")


# Events about payouts: refunds, and shares of a prize


@_on(Kind.ORDERED)
def _ordered(state: State, event: Event, now: datetime) -> Outcome:
    if state.place not in _TRANSIT:
        return _refused(state, "Nothing is payable.")
    if not state.ours and not state.house_share:
        return _refused(state, "Another party collects it: record it by hand.")
    if _same_person(state, event):
        return _refused(state, "The operator who settled it may not order its payout.")
    # `ok_at` is cleared too. If the database's clock was set back, the old `ok_at` could be later than `ordered_at`.
    ordered = state._replace(payout=Payout.ORDERED, ordered_at=now, ok_at=None)
    return _move(ordered, _TRANSIT[state.place], Effect("poll"))


def _same_person(state: State, event: Event) -> bool:
    return bool(state.settled_by) and state.settled_by == event.actor and not event.alone


@_on(Kind.ORDER_WITHDRAWN)
def _order_withdrawn(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout is not Payout.ORDERED:
        return _refused(state, "No payout is ordered, or it is being sent.")
    back = state._replace(payout=Payout.NONE, ordered_at=None)
    return _move(back, _OWED[state.place], Effect("cancel_payout"))


@_on(Kind.PAYOUT_CLAIMED)
def _payout_claimed(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout is not Payout.ORDERED:
        return _refused(state, "No payout is ordered.")
    if not may_pay_out(state):
        return _refused(state, "No poll since the order says that the money is with us.")
    return Outcome(state._replace(payout=Payout.SENDING), (Effect("pay_out"),))


@_on(Kind.PAYOUT_SUCCESSFUL)
def _payout_successful(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout not in (Payout.SENDING, Payout.AMBIGUOUS):
        return _refused(state, "No payout is being sent.")
    return _went_out(state._replace(payout=Payout.NONE, ordered_at=None), _P)


def _went_out(state: State, account: Account) -> Outcome:
    due = _OWED.get(state.place, state.place)
    done = _DONE[due]
    paid = _move(state, done, Effect("refunded" if due is Place.REFUND_DUE else "prize_paid"), via=account)
    if state.word is Word.FAILED and not state.house_share:
        return _after(_lose(paid.state), *paid.effects, postings=paid.postings)
    return paid


@_on(Kind.PAYOUT_FAILED)
def _payout_failed(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout not in (Payout.SENDING, Payout.AMBIGUOUS):
        return _refused(state, "No payout is being sent.")
    return _stays(state._replace(payout=Payout.NONE, ordered_at=None), _OWED[state.place])


def _stays(state: State, due: Place, via: Account | None = None) -> Outcome:
    """Make the money payable again, or contested, after a payout failed or was returned."""
    operator = Effect("operator", "the payout failed or was returned")
    if state.word in (Word.FAILED, Word.OTHER) and not state.house_share:
        return _after(_move(state, Place.CONTESTED, operator, via=via), back=due)
    return _move(state, due, operator, via=via)


@_on(Kind.PAYOUT_NOT_TAKEN)
def _payout_not_taken(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout is not Payout.SENDING:
        return _refused(state, "No payout is being sent.")
    if state.word in (Word.FAILED, Word.OTHER) and not state.house_share:
        return _payout_failed(state, event, now)
    return Outcome(state._replace(payout=Payout.ORDERED, ordered_at=now, ok_at=None), (Effect("poll"),))


@_on(Kind.PAYOUT_AMBIGUOUS)
def _payout_ambiguous(state: State, event: Event, now: datetime) -> Outcome:
    if state.payout is not Payout.SENDING:
        return _refused(state, "No payout is being sent.")
    return Outcome(state._replace(payout=Payout.AMBIGUOUS), (Effect("operator", "the payout is ambiguous"),))


@_on(Kind.LATE_SUCCESS)
def _late_success(state: State, event: Event, now: datetime) -> Outcome:
    """Handle a payout that was made although an operator had marked it as not paid out.

    `event.place`: refund_due or prize.
    """
    due = event.place
    ordered = state.payout is Payout.ORDERED and state.place is _TRANSIT[due]
    if state.place is due or ordered:
        out = _went_out(state._replace(payout=Payout.NONE, ordered_at=None), _P)
        return _after(out, Effect("cancel_payout")) if ordered else out
    if state.place is Place.CONTESTED and state.back is due:
        returned = _after(_move(state, due), back=Place.NONE)
        out = _went_out(returned.state, _P)
        return Outcome(out.state, out.effects, returned.postings + out.postings)
    amount = share_of(state, due)
    posted = (Posting(Account.LOST, _P, amount),)
    if state.place is Place.NONE and due is Place.REFUND_DUE:
        return Outcome(state._replace(place=Place.LOST, back=Place.REFUNDED), (Effect("lost"),), posted)
    return Outcome(state, (Effect("alarm"),), posted)


@_on(Kind.RETURNED)
def _returned(state: State, event: Event, now: datetime) -> Outcome:
    """Handle a payout that came back. If the money was booked as lost, reverse the loss."""
    via = Account.ELSEWHERE if event.elsewhere else _P
    if state.place in _RETURNS:
        return _stays(state, _RETURNS[state.place], via)
    if state.place is not Place.LOST:
        return _refused(state, "Nothing was paid out.")
    due = _RETURNS[state.back]
    posted = [Posting(via, Account.LOST, share_of(state, due))]
    if due is Place.PRIZE and state.fee:
        posted.append(Posting(Account.COMMISSION, Account.LOST, state.fee))
    return Outcome(state._replace(place=Place.NONE, back=Place.NONE), (), tuple(posted))


@_on(Kind.BY_HAND)
def _by_hand(state: State, event: Event, now: datetime) -> Outcome:
    if state.place not in _TRANSIT:
        return _refused(state, "Nothing is payable.")
    if _same_person(state, event):
        return _refused(state, "The operator who settled it may not record its payout.")
    return _went_out(state, Account.ELSEWHERE if event.elsewhere else _P)


# Events that record a decision of an operator


@_on(Kind.SETTLED_PAID, Kind.SETTLED_UNPAID)
def _settled(state: State, event: Event, now: datetime) -> Outcome:
    if state.status is not Status.PENDING:
        return _refused(state, "It has a status.")
    if state.ours and not operator_may_decide(state, now):
        return _refused(state, "The provider is still being polled.")
    paid = event.kind is Kind.SETTLED_PAID
    ended = _end(state._replace(settled_by=event.actor), Status.SUCCESS if paid else Status.FAILED)
    return _after(ended, Effect("poll")) if state.ours else ended


@_on(Kind.CONTEST_WITH_US)
def _contest_with_us(state: State, event: Event, now: datetime) -> Outcome:
    if state.place is not Place.CONTESTED:
        return _refused(state, "It is not contested.")
    known = state._replace(word=Word.NONE, word_at=None, other_since=None, settled_by=event.actor)
    moved = _move(known, state.back)
    effect = Effect("poll")
    if not state.ours:
        # A payment that our provider does not collect cannot be polled. Its messages are then queued at once.
        is_late = state.status is Status.FAILED
        effect = Effect("contested_again", Status.SUCCESS.value) if is_late else Effect("repeated")
    return _after(moved, effect, back=Place.NONE)


@_on(Kind.CONTEST_GONE)
def _contest_gone(state: State, event: Event, now: datetime) -> Outcome:
    if state.place is Place.CONTESTED:
        return _after(_move(state, Place.NONE, via=_P), back=Place.NONE)
    if state.place in _RETURNS and state.word is Word.OTHER and not state.house_share:
        return _lose(state._replace(word=Word.FAILED))
    return _refused(state, "It is not contested.")


# RESULT and POLLED leave the state unchanged. The events below them concern the match of a payment.


@_on(Kind.RESULT, Kind.POLLED)
def _noted(state: State, event: Event, now: datetime) -> Outcome:
    return Outcome(state)


@_on(Kind.WON)
def _won(state: State, event: Event, now: datetime) -> Outcome:
    return _move(state, Place.PRIZE) if state.place is Place.IN_MATCH else _refused(state, "It is not in a match.")


@_on(Kind.GIVEN_BACK)
def _given_back(state: State, event: Event, now: datetime) -> Outcome:
    if state.house_share and state.place is Place.PRIZE:
        posted = (Posting(Account.PRIZE, Account.LOST, state.amount - state.fee),)
        return Outcome(state._replace(place=Place.NONE, house_share=False), (), posted)
    if state.place in (Place.IN_MATCH, Place.PRIZE):
        return _move(state, Place.REFUND_DUE)
    if state.place is Place.CONTESTED:
        return Outcome(state._replace(back=Place.REFUND_DUE))
    return _refused(state, "No stake is in the match.")


@_on(Kind.HOUSE_PAID)
def _house_paid(state: State, event: Event, now: datetime) -> Outcome:
    if state.place is not Place.NONE:
        return _refused(state, "Its money is accounted for.")
    posted = (Posting(Account.LOST, Account.PRIZE, state.amount - state.fee),)
    return Outcome(state._replace(place=Place.PRIZE, house_share=True), (), posted)


# Adoption into the journal, for payments from releases that had no journal


@_on(Kind.ADOPTED)
def _adopted(state: State, event: Event, now: datetime) -> Outcome:
    """Replace the state with `event.becomes`. The difference is posted against the account `opening`."""
    becomes = event.becomes or state
    return Outcome(becomes, (), _between(balances(state), balances(becomes), Account.OPENING))

"""Results of matches, their prizes, and refunds of both stakes.

To lock both payments of a match, lock the lower id first. `locked` explains the one exception.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q

from payments import database, journal
from payments.journal import Cause
from payments.models import MatchResult, Payment
from payments.rules import match as match_rules
from payments.rules.match import Match, MatchOutcome, Prize, Result
from payments.rules.states import Event, Kind, Outcome, Place, Word
from payments.signals import current_use

logger = logging.getLogger("payments")

# If a payment has one of these values of `place`, an event may also change the other payment of the match.
_OF_A_RESULT = ("in_use", "prize", "prize_transit", "prize_paid", "contested", "lost")


class Refused(Exception):
    """Raised if an operation was refused. The text is the reason, in a sentence for the operator."""


class DifferentResult(Refused):
    """Raised if the match already has a different result."""


@dataclass(slots=True)
class Locked:
    """A locked payment, with the result and both locked payments of its match if they are needed."""

    payment: Payment
    result: MatchResult | None = None
    payments: list[Payment] = field(default_factory=list)


def _result_of(payment_id: int) -> MatchResult | None:
    return MatchResult.objects.filter(Q(first=payment_id) | Q(second=payment_id)).first()


def locked(payment_id: int) -> Locked:
    """Lock a payment, and the other payment of its match if both may have to change. Raises Payment.DoesNotExist."""
    columns = ("place", "collected_at", "status", "version", "stale")
    place, collected_at, status, version, stale = Payment.objects.values_list(*columns).get(pk=payment_id)
    # True if the stake was approved without money (MOMO_AUTO_APPROVE). Its money can arrive after its match's result.
    is_approved = not place and collected_at is None and status == Payment.Status.SUCCESS
    keys = {payment_id}
    if (place in ("in_use", "contested") or is_approved or not version or stale) and (
        opponent := current_use().opponent(Payment(pk=payment_id))
    ):
        # Lock both payments, because another process may record a result before the locks are taken. Adoption also
        # locks both.
        keys.add(opponent[0].pk)
    elif place in _OF_A_RESULT or (collected_at and not place):
        recorded = _result_of(payment_id)
        keys |= {recorded.first_id, recorded.second_id} if recorded is not None else set()
    payments = [journal.locked(key) for key in sorted(keys)]
    if len(payments) == 1 and payments[0].place.startswith("prize") and (recorded := _result_of(payment_id)):
        # The match was made and won after the first query. Lock the other payment too, even if its id is lower. This
        # very rarely causes a deadlock.
        payments = [journal.locked(key) for key in sorted((recorded.first_id, recorded.second_id))]
    payment = next(one for one in payments if one.pk == payment_id)
    # Read the result only after the locks are taken. Until then, another transaction can change it.
    result = _result_of(payment_id) if len(payments) == 2 else None
    found = Locked(payment) if result is None else Locked(payment, result, payments)
    payment._match = found  # type: ignore[attr-defined]
    return found


def _states(found: Locked) -> Match:
    first, second = (journal.state_of(payment) for payment in found.payments)
    return Match((first, second), Result(found.result.outcome) if found.result else Result.NONE)


def take(payment: Payment, event: Event, cause: Cause, also: tuple[str, ...] = ()) -> Outcome:
    """Apply an event to a payment locked by `locked`.

    If the payment's match has a result, the other payment of the match may change too.
    """
    found: Locked | None = getattr(payment, "_match", None)
    if found is None or found.result is None:
        return journal.take(payment, event, cause, also=also)
    now = database.now()
    outcome = match_rules.on_share(_states(found), found.payments.index(payment), event, now)
    write(found, outcome, now, cause, also=also, own=payment)
    return outcome.steps[0].outcome


def take_word(
    payment: Payment,
    word: Word,
    *,
    began: datetime,
    polled: bool,
    cause: Cause,
    also: tuple[str, ...] = (),
) -> Outcome:
    """Apply the provider's answer to a payment locked by `matches.locked`.

    `began`: when the poll or the payment request began, or when the callback was handled.
    """
    place = Place.NONE
    if payment.status == Payment.Status.SUCCESS and payment.collected_at is None and word is Word.SUCCESSFUL:
        # Money has arrived for a stake that was approved without it. `hold` locks the game's rows and returns the
        # account for the money.
        place = current_use().hold(payment)
    event = Event(Kind.WORD, said=word, began=began, polled=polled, place=place)
    return take(payment, event, cause, also)


def judge(payment_id: int, kind: Kind, *, actor: str, note: str) -> Payment:
    """Apply an operator's decision to a payment.

    Raises Refused if the rules forbid it. The journal records the refusal too.
    """
    with journal.writing():
        payment = locked(payment_id).payment
        outcome = take(payment, Event(kind, actor=actor), Cause("operator", actor, note, note))
        raise_if_unused(payment)
    if outcome.refusal:
        raise Refused(outcome.refusal)
    return payment


def raise_if_unused(payment: Payment) -> None:
    """If a signal receiver had a timeout or deadlock, re-raise the exception, so that the operator can try again."""
    if payment.use_error is not None:
        raise payment.use_error


def write(
    found: Locked,
    outcome: MatchOutcome,
    now: datetime,
    cause: Cause,
    *,
    also: tuple[str, ...] = (),
    own: Payment | None = None,
) -> None:
    """Save the changes to the payments of a match, and to the state of its prize."""
    for step in outcome.steps:
        payment = found.payments[step.share]
        columns = also if payment is own else ()
        journal.commit(payment, step.event, step.before, step.outcome, now, cause, columns)
    prize = match_rules.prize_of(outcome.match)
    if found.result is not None and found.result.prize != prize.value:
        found.result.prize = prize.value
        found.result.save(update_fields=["prize"])


def record(
    key: str, payment_ids: tuple[int, int], outcome: str, winner_id: int | None, *, by: str, note: str = ""
) -> bool:
    """Record the result of a match. Return False if the same result was recorded before.

    `outcome`: win, draw or void. `winner_id`: the id of the winner's payment, only for a win. Raises DifferentResult if
    another result was recorded before.
    """
    with journal.writing():
        payments = [journal.locked(key_) for key_ in sorted(payment_ids)]
        known = MatchResult.objects.filter(key=key).first()
        if known is not None:
            if (known.outcome, known.winner_id) == (outcome, winner_id):
                return False
            raise DifferentResult(f"The result of this match is recorded as {known.outcome}.")
        now = database.now()
        found = Locked(payments[0], None, payments)
        done = match_rules.record(_states(found), Result(outcome), now)
        found.result = MatchResult(
            key=key,
            first=payments[0],
            second=payments[1],
            outcome=outcome,
            winner_id=winner_id,
            recorded_by=by[:150],
            recorded_at=now,
            note=note[:300],
        )
        found.result.prize = match_rules.prize_of(done.match).value
        found.result.save(force_insert=True)
        write(found, done, now, Cause("operator", by, note))
    logger.info(
        "payments.result: the result of match %s is recorded: %s, by %s",
        key,
        outcome,
        by,
        extra={"event": "payments.result", "match": key},
    )
    return True


def give_back(key: str, payment_ids: tuple[int, int], *, by: str, note: str) -> None:
    """Mark the stakes of a match for refund, and record that the match is void.

    Raises Refused, for example if the prize is payable or was paid.
    """
    with journal.writing():
        payments = [journal.locked(key_) for key_ in sorted(payment_ids)]
        found = Locked(payments[0], MatchResult.objects.filter(key=key).first(), payments)
        now = database.now()
        outcome = match_rules.give_back(_states(found), now)
        if outcome.refusal:
            raise Refused(outcome.refusal)
        # A result may have arrived since the operator opened the confirmation page.
        if found.result is not None and prize(found) is not Prize.HELD:
            raise Refused("A result of this match is recorded, and its prize is not held.")
        if found.result is None:
            found.result = MatchResult.objects.create(
                key=key,
                first=payments[0],
                second=payments[1],
                outcome=MatchResult.Outcome.VOID,
                recorded_by=by[:150],
                recorded_at=now,
                note=note[:300],
            )
        else:
            found.result.outcome, found.result.winner = MatchResult.Outcome.VOID, None
            found.result.note = note[:300]
            found.result.save(update_fields=["outcome", "winner", "note"])
        write(found, outcome, now, Cause("operator", by, note))


def house_pays(result_id: int, *, by: str, note: str) -> None:
    """Let the house pay the one missing share of a prize. Raises Refused, for example if a payment is contested."""
    with journal.writing():
        found = locked_result(result_id)
        now = database.now()
        outcome = match_rules.house_pays(_states(found), now)
        if outcome.refusal:
            raise Refused(outcome.refusal)
        write(found, outcome, now, Cause("operator", by, note))


def locked_result(result_id: int) -> Locked:
    """Lock both payments of a match result. Return the result and the payments."""
    result = MatchResult.objects.get(pk=result_id)
    payments = [journal.locked(key) for key in sorted((result.first_id, result.second_id))]
    result.refresh_from_db()
    return Locked(payments[0], result, payments)


def state(found: Locked) -> Match:
    """Convert the locked payments and the result to the form that the pure rules use."""
    return _states(found)


def prize(found: Locked) -> Prize:
    return match_rules.prize_of(_states(found))


def close_elsewhere(key: str, payment_ids: tuple[int, int], *, by: str, note: str) -> int:
    """Record that a match without a result was paid out, but not from our account at the provider.

    Return the amount in UGX. Raises Refused, for example if a payment is contested. No message is sent.
    """
    with journal.writing():
        payments = [journal.locked(key_) for key_ in sorted(payment_ids)]
        if MatchResult.objects.filter(key=key).exists():
            raise Refused("A result of this match is recorded.")
        found, now = Locked(payments[0], None, payments), database.now()
        won = match_rules.record(_states(found), Result.WIN, now)
        event = Event(Kind.BY_HAND, actor=by, elsewhere=True, alone=True)
        paid = match_rules.order(won.match, event, now)
        if paid.refusal:
            raise Refused("A payment of this match is disputed, or its money is not in the match.")
        found.result = MatchResult.objects.create(
            key=key,
            first=payments[0],
            second=payments[1],
            outcome=MatchResult.Outcome.WIN,
            recorded_by=by[:150],
            recorded_at=now,
            note=note[:300],
        )
        for outcome in (won, paid):
            write(found, outcome, now, Cause("operator", by, note))
    return sum(posting.amount for posting in paid.postings)

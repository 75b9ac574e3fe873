"""The rules for a match and its prize, as pure functions.

The payments of both players are the shares of the prize.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from payments.rules.payment import apply
from payments.rules.states import Effect, Event, Kind, Outcome, Payout, Place, Posting, State


class Result(str, Enum):
    NONE, WIN, DRAW, VOID = "", "win", "draw", "void"


class Prize(str, Enum):
    NONE, HELD, PAYABLE, ORDERED = "", "held", "payable", "ordered"
    SENDING, AMBIGUOUS, PAID = "sending", "ambiguous", "paid"


@dataclass(frozen=True, slots=True)
class Match:
    """The state of a match. `shares`: the states of its two payments, by ascending payment id."""

    shares: tuple[State, State]
    result: Result = Result.NONE


@dataclass(frozen=True, slots=True)
class Step:
    """One event applied to one payment, with the payment's earlier state and the outcome."""

    share: int
    event: Event
    before: State
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MatchOutcome:
    """A match after an operation. `steps`: the applied events. `refusal`: the reason if the operation was refused."""

    match: Match
    steps: tuple[Step, ...] = ()
    refusal: str = ""

    @property
    def postings(self) -> tuple[Posting, ...]:
        return tuple(posting for step in self.steps for posting in step.outcome.postings)

    @property
    def effects(self) -> tuple[Effect, ...]:
        return tuple(effect for step in self.steps for effect in step.outcome.effects)


_UNDER_WAY = {Payout.ORDERED: Prize.ORDERED, Payout.SENDING: Prize.SENDING, Payout.AMBIGUOUS: Prize.AMBIGUOUS}


def prize_of(match: Match) -> Prize:
    """Return the state of the prize. There is no prize if both stakes were approved without money."""
    places = [share.place for share in match.shares]
    if match.result is not Result.WIN or all(share.approved for share in match.shares):
        return Prize.NONE
    if Place.PRIZE_TRANSIT in places:
        transit = next(share for share in match.shares if share.place is Place.PRIZE_TRANSIT)
        return _UNDER_WAY[transit.payout]
    if any(_is_out(share) for share in match.shares):
        return Prize.PAID
    return Prize.PAYABLE if all(place is Place.PRIZE for place in places) else Prize.HELD


def _is_out(share: State) -> bool:
    return share.place is Place.PRIZE_PAID or (share.place is Place.LOST and share.back is Place.PRIZE_PAID)


def on_share(match: Match, share: int, event: Event, now: datetime) -> MatchOutcome:
    """Apply an event to one of the two payments, then the events that follow from it."""
    return _run(match, [(share, event)], now)


def record(match: Match, result: Result, now: datetime) -> MatchOutcome:
    """Record the result of a match. After a draw or void, the stakes in the match become due for refund."""
    if match.result is not Result.NONE:
        return MatchOutcome(match, refusal="" if match.result is result else "Another result is recorded.")
    recorded = Match(match.shares, result)
    events = [(index, Event(Kind.RESULT)) for index in (0, 1)]
    if result is not Result.WIN:
        events += _give_back(match)
    return _run(recorded, events, now)


def give_back(match: Match, now: datetime) -> MatchOutcome:
    """Mark the stakes in the match for refund. Refuse if the prize is ordered, being paid out, ambiguous or paid."""
    if prize_of(match) in (Prize.ORDERED, Prize.SENDING, Prize.AMBIGUOUS, Prize.PAID):
        return MatchOutcome(match, refusal="Its prize is under way or paid.")
    events = _give_back(match)
    if not events:
        return MatchOutcome(match, refusal="No stake is in the match.")
    return _run(Match(match.shares, Result.VOID), events, now)


def _give_back(match: Match) -> list[tuple[int, Event]]:
    of_match = (Place.IN_MATCH, Place.PRIZE)
    return [
        (index, Event(Kind.GIVEN_BACK))
        for index, share in enumerate(match.shares)
        if share.place in of_match or (share.place is Place.CONTESTED and share.back in of_match)
    ]


def house_pays(match: Match, now: datetime) -> MatchOutcome:
    """Let the house pay the one missing share of a prize."""
    if prize_of(match) is not Prize.HELD or any(share.place is Place.CONTESTED for share in match.shares):
        return MatchOutcome(match, refusal="No prize is held, or a payment is still contested.")
    missing = [index for index, share in enumerate(match.shares) if share.place is Place.NONE]
    if not missing or len(missing) == len(match.shares):
        return MatchOutcome(match, refusal="No share is missing, or both are.")
    return _run(match, [(index, Event(Kind.HOUSE_PAID)) for index in missing], now)


def order(match: Match, event: Event, now: datetime) -> MatchOutcome:
    """Order the payout of a payable prize, or record that it was paid by hand, depending on `event`."""
    if prize_of(match) is not Prize.PAYABLE:
        return MatchOutcome(match, refusal="No prize is payable.")
    return step(match, event, now)


def step(match: Match, event: Event, now: datetime) -> MatchOutcome:
    """Apply an event of the prize's payout to both shares. If the event does not fit one share, change neither."""
    for share in match.shares:
        refusal = apply(share, event, now).refusal
        if refusal:
            return MatchOutcome(match, refusal=refusal)
    return _run(match, [(0, event), (1, event)], now)


def some(match: Match, event: Event, now: datetime) -> MatchOutcome:
    """Apply an event to each share that accepts it. The operation is refused if no share accepts the event."""
    fits = [(index, event) for index, share in enumerate(match.shares) if not apply(share, event, now).refusal]
    return _run(match, fits, now) if fits else MatchOutcome(match, refusal="Nothing was paid out.")


def _run(match: Match, events: Sequence[tuple[int, Event]], now: datetime) -> MatchOutcome:
    shares, steps = list(match.shares), []
    queue = list(events)
    while queue:
        index, event = queue.pop(0)
        outcome = apply(shares[index], event, now)
        steps.append(Step(index, event, shares[index], outcome))
        shares[index] = outcome.state
        if not queue:
            queue = _follow_ups(Match((shares[0], shares[1]), match.result))
    return MatchOutcome(Match((shares[0], shares[1]), match.result), tuple(steps))


def _follow_ups(match: Match) -> list[tuple[int, Event]]:
    """Return the events that follow from the states of both shares.

    If only one share of an ordered payout is left, its order is withdrawn.
    """
    places = [share.place for share in match.shares]
    if Place.PRIZE_TRANSIT in places and places.count(Place.PRIZE_TRANSIT) == 1:
        index = places.index(Place.PRIZE_TRANSIT)
        if match.shares[index].payout is Payout.ORDERED:
            return [(index, Event(Kind.ORDER_WITHDRAWN))]
    in_match = [index for index, place in enumerate(places) if place is Place.IN_MATCH]
    if match.result in (Result.DRAW, Result.VOID):
        return [(index, Event(Kind.GIVEN_BACK)) for index in in_match]
    complete = all(place in (Place.IN_MATCH, Place.PRIZE) for place in places)
    if match.result is Result.WIN and complete:
        return [(index, Event(Kind.WON)) for index in in_match]
    return []

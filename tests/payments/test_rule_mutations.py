"""The random lives detect faults in the rules: each mutation changes one decision and must be detected."""

from pathlib import Path
from types import ModuleType

import pytest

from payments.rules import match as match_rules
from payments.rules import payment as rules
from tests.payments import test_rule_lives

LIVES = 4000
# One of these lives detects each mutation. They are tried first, because a mutation alone takes up to 1,200 lives.
FIRST = (9, 8, 214, 65, 223, 11, 257, 193, 1, 325, 105, 668, 1116, 1187, 136, 665)
# For each mutation: the original text in rules/payment.py, and the faulty text.
MUTATIONS = {
    "a late Failed is applied": ("state.word_at is not None and began < state.word_at and", "False and"),
    "a prize pays the fee out": (
        "state.amount - state.fee if due is Place.PRIZE",
        "state.amount if due is Place.PRIZE",
    ),
    "an old poll allows a payout": ("state.ok_at > state.ordered_at", "state.ok_at < state.ordered_at"),
    "a payout needs no poll after the order": ("is Word.SUCCESSFUL and confirmed and", "is Word.SUCCESSFUL and"),
    "a notification does not hold up a payout": (" and confirmed and state.owed_since is None", " and confirmed"),
    "a payment request is sent twice": (
        "if state.request is not Request.DUE:\n        return",
        "if state.request is Request.NONE:\n        return",
    ),
    "a payment is requested twice": (
        "state.status is not Status.PENDING or state.request is not Request.NONE",
        "False",
    ),
    "a status moves twice": (
        "    if state.status is Status.PENDING:\n        return _end(state, Status.SUCCESS)",
        "    if state.status is not Status.SUCCESS:\n        return _end(state, Status.SUCCESS)",
    ),
    "money after a failure is forgotten": (
        'return _move(state, Place.REFUND_DUE, Effect("contested", Status.SUCCESS.value), via=_P)',
        "return Outcome(state)",
    ),
    "a reversal of a waiting payment is ignored": ("place in IN_USE or place in _TRANSIT", "place in _TRANSIT"),
    "a reversal of a payable payment is ignored": ("place in IN_USE or place in _TRANSIT", "place in IN_USE"),
    "a reversal does not take the order back": (
        "if place in _OWED and state.payout is Payout.ORDERED:\n        moved",
        "if False:\n        moved",
    ),
    "a reversal after a payout is ignored": (
        "return _lose(state) if failed else",
        "return Outcome(state) if failed else",
    ),
    "lost money goes to another account": (
        "(Posting(Account.LOST, _P, state.amount),))",
        "(Posting(Account.LOST, Account.ELSEWHERE, state.amount),))",
    ),
    "lost money that comes back is not booked": ("posted = (Posting(_P, Account.LOST, state.amount),)", "posted = ()"),
    "the other player's stake is taken": (
        "Kind.UNUSED: (Place.WAITING, Place.REFUND_DUE)",
        "Kind.UNUSED: (Place.WAITING, Place.NONE)",
    ),
    "the operator who settled it pays it out": ("state.settled_by == event.actor and not event.alone", "False"),
    "an order that is being sent is taken back": (
        'if state.payout is not Payout.ORDERED:\n        return _refused(state, "No payout is ordered, or',
        'if state.payout is Payout.NONE:\n        return _refused(state, "',
    ),
    "a payout is claimed twice": (
        'if state.payout is not Payout.ORDERED:\n        return _refused(state, "No payout is ordered.")',
        'if state.payout is Payout.NONE:\n        return _refused(state, "")',
    ),
    "a reversed payment that went out counts as well spent": (
        "if state.word is Word.FAILED and not state.house_share:\n        return _after(_lose",
        "if False:\n        return _after(_lose",
    ),
    "a failed payout of reversed money is payable": (
        "(Word.FAILED, Word.OTHER) and not state.house_share:\n        return _after(_move",
        "() and not state.house_share:\n        return _after(_move",
    ),
    "a payout that was not taken keeps its old poll": (
        'payout=Payout.ORDERED, ordered_at=now, ok_at=None), (Effect("poll"),))',
        'payout=Payout.ORDERED), (Effect("poll"),))',
    ),
    "a late success of a payout is not booked": (
        'return Outcome(state, (Effect("alarm"),), posted)',
        'return Outcome(state, (Effect("alarm"),))',
    ),
    "a late success of a contested payment pays it twice": (
        "return Outcome(out.state, out.effects, returned.postings + out.postings)",
        "return Outcome(out.state, out.effects, out.postings)",
    ),
    "a late success leaves a second order": (
        "ordered = state.payout is Payout.ORDERED and state.place is _TRANSIT[due]",
        "ordered = False",
    ),
    "a returned payout stays lost": ("posted = [Posting(via, Account.LOST, share_of(state, due))]", "posted = []"),
    "a payout that was returned to another account": (
        "via = Account.ELSEWHERE if event.elsewhere else _P\n    if state.place in _RETURNS",
        "via = _P\n    if state.place in _RETURNS",
    ),
    "a record by hand is booked at the provider": (
        "return _went_out(state, Account.ELSEWHERE if event.elsewhere else _P)",
        "return _went_out(state, _P)",
    ),
    "a closed dispute counts as refunded": (
        "    moved = _move(known, state.back)\n",
        "    moved = _move(known, Place.REFUNDED)\n",
    ),
    "an operator settles what is polled": ("if state.ours and not operator_may_decide(state, now):", "if False:"),
    "money that is gone stays in the books": (
        "return _after(_move(state, Place.NONE, via=_P), back=Place.NONE)",
        "return _after(_move(state, Place.NONE, via=Account.LOST), back=Place.NONE)",
    ),
    "a contested stake is given back at once": (
        "return Outcome(state._replace(back=Place.REFUND_DUE))",
        "return _move(state, Place.REFUND_DUE)",
    ),
    "a share that the house paid goes to the player": (
        "posted = (Posting(Account.PRIZE, Account.LOST, state.amount - state.fee),)",
        "posted = (Posting(Account.PRIZE, Account.LOST, state.amount),)",
    ),
    "the house pays a share that is there": (
        'if state.place is not Place.NONE:\n        return _refused(state, "Its money is accounted for.")',
        "",
    ),
    "an answered notification still holds up payouts": ("known = known._replace(owed_since=None)", "pass"),
    "a request without an answer has no way out": (
        "if state.request in (Request.AMBIGUOUS, Request.UNRESOLVED):\n        return True",
        "",
    ),
}


def mutated(old: str, new: str) -> ModuleType:
    source = Path(rules.__file__).read_text()
    assert source.count(old) == 1, f"{source.count(old)} places have the text {old!r}"
    module = ModuleType("mutated_rules")
    exec(compile(source.replace(old, new), "mutated_rules", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(("old", "new"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_fault_in_the_rule_is_caught(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = mutated(old, new)
    monkeypatch.setattr(match_rules, "apply", rule.__dict__["apply"])
    monkeypatch.setattr(test_rule_lives, "apply", rule.__dict__["apply"])
    for seed in (*FIRST, *range(LIVES)):
        try:
            test_rule_lives.live(seed)
        except (AssertionError, KeyError):
            return
    pytest.fail(f"not caught in {LIVES} lives")

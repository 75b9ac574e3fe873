"""Build the API's response bodies about a stake."""

from typing import Any

from game.models import Entry
from game.payment_use import due_back
from game.rules.limits import INVITE_REFUSALS
from game.rules.placing import Placed
from game.tokens import game_link, player_token, queue_token
from game.wording import end_of
from payments.statements import Select
from sms.models import ACCEPTED, SmsMessage

_INVITE = Select(lambda key: SmsMessage.objects.filter(dedupe_key=key))


def iso(moment: Any) -> str:
    return moment.isoformat() if moment else ""


def invite_answer(invite: SmsMessage | None) -> dict[str, Any] | None:
    return {"id": invite.pk, "status": invite.status} if invite else None


def placed_answer(placed: Placed) -> dict[str, Any]:
    """Return the response body for an accepted stake."""
    entry = placed.entry
    common: dict[str, Any] = {
        "queue_id": entry.pk,
        "queue_token": queue_token(entry),
        "player_token": player_token(entry),
        "transaction_id": entry.payment.transaction_id,
        "stake_amount": entry.stake_amount,
    }
    if entry.status == Entry.Status.AWAITING_PAYMENT:
        message = "Confirm the payment on your phone; your match opens when it is paid."
        return common | {
            "status": "awaiting_payment",
            "total_amount": entry.payment.amount,
            "display_name": entry.display_name,
            "message": _with(message, _invite_refusal(placed.entry)),
        }
    if entry.status == Entry.Status.MATCHED:
        return common | {"status": "matched"} | _match(entry)
    if entry.match_code:
        return common | {
            "status": "private_created",
            "match_code": entry.match_code,
            "expires_at": iso(entry.expires_at),
            "sms_invite_sent": placed.invite is not None and placed.invite.status in ACCEPTED,
            "sms_invite": invite_answer(placed.invite),
            "message": _private_message(placed),
        }
    return common | {
        "status": "queued",
        "display_name": entry.display_name,
        "message": "Searching for an opponent; we text you when one is found.",
    }


def _private_message(placed: Placed) -> str:
    if placed.entry.invite_refused:
        return f"Your private match is open. {_invite_refusal(placed.entry)}"
    if placed.invite is None:
        return "Your private match is open: share the code with your friend."
    if placed.invite.status in ACCEPTED:
        return "Your private match is open, and the invite is on its way."
    if placed.invite.status in ("queued", "sending"):
        return "Your private match is open; the invite is being sent."
    if placed.invite.status == "unknown":
        return "Your private match is open; the invite may have been sent, but that is not certain: share the code too."
    return "Your private match is open, but the invite could not be sent: share the code with your friend."


def _invite_refusal(entry: Entry) -> str:
    return INVITE_REFUSALS.get(entry.invite_refused, "")


def _with(message: str, more: str) -> str:
    return f"{message} {more}" if more else message


def _match(entry: Entry) -> dict[str, Any]:
    session, opponent = entry.session, entry.opponent
    if session is None:
        raise ValueError("An entry without a session is not matched.")
    return {
        "game_token": session.token,
        "game_link": game_link(entry),
        "session_id": session.pk,
        "stake_amount": session.stake_amount,
        "prize_amount": session.prize_amount,
        "expires_at": iso(session.expires_at),
        "my_display_name": entry.display_name,
        "opponent_display_name": opponent.display_name if opponent else "",
        "message": _found(entry, opponent),
    }


def _found(entry: Entry, opponent: Entry | None) -> str:
    if entry.joins_code and opponent and opponent.match_code != entry.joins_code:
        return "Your friend's match was taken meanwhile; another opponent was found."
    return "Opponent found!"


def _refund(entry: Entry) -> dict[str, Any] | None:
    payment = entry.payment
    if payment.refunded_at is None and not due_back(entry):
        return None
    status = "due" if payment.refunded_at is None else "refunded"
    return {"status": status, "amount": payment.amount, "phone_number": payment.phone}


def status_answer(entry: Entry) -> dict[str, Any]:
    """Return the response body about a stake's status, for the player who placed the stake."""
    state = entry.state
    answer: dict[str, Any] = {
        "status": state,
        "stake_amount": entry.stake_amount,
        "display_name": entry.display_name,
        "message": "",
    }
    if state == Entry.Status.AWAITING_PAYMENT:
        answer |= {"total_amount": entry.payment.amount, "message": "Waiting for your payment."}
    elif state == Entry.Status.MATCHED:
        answer |= _match(entry)
    elif state == Entry.Status.EXPIRED:
        reason, sentences = end_of(entry)
        answer |= {"reason": reason, "message": " ".join(map(str, sentences)), "refund": _refund(entry)}
    else:
        answer["expires_at"] = iso(entry.expires_at)
        answer["message"] = "Searching for an opponent."
        if entry.match_code:
            invite = _INVITE.first(key=entry.invite_key)
            answer |= {
                "match_code": entry.match_code,
                "sms_invite": invite_answer(invite),
                "message": _with("Waiting for your friend: share the code.", _invite_refusal(entry)),
            }
        elif entry.joins_code:
            answer["message"] = "Your friend's match was taken meanwhile; searching for another opponent."
    return answer

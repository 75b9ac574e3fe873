"""The admin's lists of players, stakes, matches and game workers. No field can be edited."""

from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from game import keys
from game.models import Entry, GameWorker, Player, Session, StakeLevel
from game.rules import results
from game.wording import ENDS, RESULTS, state_words
from payments.admin.actions import Action
from payments.admin.base import LabeledFilter, SearchByValue
from payments.models import MatchResult
from sms.admin_base import BoundedAdmin, ByPermission, ReadOnly
from sms.errors import InvalidPhone
from sms.formats import ugx
from sms.text import to_e164


class GameAdmin(ReadOnly, ByPermission, SearchByValue, BoundedAdmin):
    """A read-only admin list with a search by phone number in any notation.

    Subclasses override `conditions` to add other searches.
    """

    search_fields = ("pk",)
    sortable_by = ()
    phone_lookup = ""

    def conditions(self, term: str) -> list[Q]:
        """Return a Q object for each searched column except the phone number.

        Each Q object gets its own query, so that the query can use an index.
        """
        return []

    def condition(self, term: str) -> Q:
        conditions = self.conditions(term)
        with suppress(InvalidPhone):
            conditions.append(Q(**{self.phone_lookup: to_e164(term)}))
        rows = self.model._default_manager.order_by()
        return Q(pk__in=[pk for one in conditions for pk in rows.filter(one).values_list("pk", flat=True)[:1000]])


@admin.register(Player)
class PlayerAdmin(GameAdmin):
    list_display = ("id", "masked_phone", "created_at")
    list_display_links = ("id", "masked_phone", "full_phone")
    fields = ("masked_phone", "created_at")
    readonly_fields = ("masked_phone", "full_phone")
    search_help_text = "A phone number in any form"
    phone_lookup = "phone"


@admin.register(StakeLevel)
class StakeLevelAdmin(ReadOnly, BoundedAdmin):
    list_display = ("stake",)

    @admin.display(description="stake")
    def stake(self, level: StakeLevel) -> str:
        return ugx(level.amount)


class ReasonFilter(LabeledFilter):
    title = "reason for the end"
    parameter_name = "reason"
    labels = ENDS


def _result_of(match: str) -> "QuerySet[MatchResult]":
    """Return a subquery for the result of a match. `match`: the outer query's column that holds the match's id."""
    return MatchResult.objects.filter(key=keys.in_query(keys.SESSION, match))


@admin.register(Entry)
class EntryAdmin(GameAdmin):
    list_display = ("created_at", "masked_phone", "stake", "state", "display_name", "match_code", "session")
    list_display_links = ("created_at", "masked_phone", "full_phone")
    list_filter = ("status", ReasonFilter)
    linked_lookups = ("player__id__exact",)
    list_select_related = ("player", "session")
    readonly_fields = ("masked_phone", "full_phone", "state")
    search_help_text = "A phone number in any form, a match code, or a transaction ID"
    phone_lookup = "player__phone"

    def conditions(self, term: str) -> list[Q]:
        return [Q(match_code=term.upper()), Q(payment__transaction_id=term)]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Entry]":
        """Annotate each stake with the `outcome` and the `winner` of its match."""
        entries: QuerySet[Entry] = super().get_queryset(request)
        result = _result_of("session_id")
        return entries.annotate(
            outcome=Subquery(result.values("outcome")[:1]), winner=Subquery(result.values("winner")[:1])
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields to show. Fields with a full phone number are left out if the user may not see it."""
        names = ["masked_phone", "state", *(field.name for field in Entry._meta.concrete_fields if field.name != "id")]
        in_full = request.user.has_perm("sms.view_full_phone")
        return [name for name in self.permitted(request, names) if in_full or name not in ("player", "invite_phone")]

    @admin.display(description="stake", ordering="stake_amount")
    def stake(self, entry: Entry) -> str:
        return ugx(entry.stake_amount)

    @admin.display(description="state")
    def state(self, entry: Any) -> str:
        won = "won" if entry.winner == entry.payment_id else "lost"
        return RESULTS.get(won if entry.outcome == "win" else entry.outcome) or state_words(entry)


class EntryInline(ReadOnly, ByPermission, admin.TabularInline):
    model = Entry
    extra = 0
    show_change_link = True
    fields = ("masked_phone", "display_name", "match_code", "created_at")
    readonly_fields = ("masked_phone", "full_phone", "display_name", "match_code", "created_at")


GIVE_BACK = Action(
    "give_back",
    "Give both stakes back",
    "Give both stakes back",
    "Use this for a match that nobody played, or whose prize is held because the provider took back one stake. Each "
    "stake that is still with us becomes refund due, and its player receives a text.",
    "None of the selected matches is over without a result, or has a held prize.",
    results.to_give_back,
    lambda session, by, _found: results.give_back(session, by=by.name, note=by.note),
    "Both stakes given back",
    note="Why? (for example: the game server was down)",
)
CLOSE_ELSEWHERE = Action(
    "close_elsewhere",
    "Close as paid elsewhere",
    "Close as paid elsewhere",
    "Use this for a match whose winner was paid from another account than the provider's. Nobody receives a text.",
    "None of the selected matches is over without a result.",
    results.without_result,
    lambda session, by, _found: results.close_one(session, by=by.name, note=by.note),
    "Closed as paid elsewhere",
    note="How was the winner paid? (receipt number, channel)",
)

_OUTCOMES = {"win": "won", "draw": "draw", "void": "cancelled"}


@admin.register(Session)
class SessionAdmin(GameAdmin):
    list_display = ("id", "stake", "prize", "state", "created_at", "expires_at")
    readonly_fields = ("state",)
    inlines = (EntryInline,)
    search_help_text = "A phone number in any form, or the token of the match's link"
    phone_lookup = "entries__player__phone"
    actions = (GIVE_BACK, CLOSE_ELSEWHERE)

    def conditions(self, term: str) -> list[Q]:
        return [Q(token=term)]

    @admin.display(description="stake")
    def stake(self, session: Session) -> str:
        return ugx(session.stake_amount)

    @admin.display(description="prize")
    def prize(self, session: Session) -> str:
        return ugx(session.prize_amount)

    @admin.display(description="state")
    def state(self, session: Any) -> str:
        return _OUTCOMES.get(session.outcome) or ("being played" if session.status == "active" else "over, no result")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Session]":
        """Annotate each match with its `outcome` and with `amount`, the sum of its two payments."""
        sessions: QuerySet[Session] = super().get_queryset(request)
        outcome = Subquery(_result_of("pk").values("outcome")[:1])
        return sessions.annotate(amount=Coalesce(Sum("entries__payment__amount"), 0), outcome=outcome)

    def has_refund_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("payments.refund_payment"))


@admin.register(GameWorker)
class GameWorkerAdmin(ReadOnly, BoundedAdmin):
    list_display = ("name", "alive", "started_at", "seen_at")

    @admin.display(boolean=True)
    def alive(self, worker: GameWorker) -> bool:
        return worker.is_alive

"""Players, their stakes and their matches, for reading: what the game decided is not edited."""

from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from game.models import Entry, GameWorker, Player, Session, StakeLevel
from game.wording import ENDS, state_words
from payments.admin import ReadOnly, ReadOnlyAdmin, for_whom
from sms.errors import InvalidPhone
from sms.text import mask_phone, to_e164


class Searched(ReadOnlyAdmin):
    """Searched by whole values, so that an index answers; a number in any notation."""

    search_fields = ("pk",)
    sortable_by = ()
    wanted_by_phone = ""

    def wanted(self, term: str) -> list[Q]:
        """Each is asked alone, by its own index."""
        return []

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return for_whom(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return for_whom(request, super().get_fields(request, obj))

    @admin.display(description="phone")
    def masked_phone(self, row: Any) -> str:
        return mask_phone(row.phone)

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = self.wanted(term)
        with suppress(InvalidPhone):  # no number, so one of the others
            wanted.append(Q(**{self.wanted_by_phone: to_e164(term)}))
        rows = self.model._default_manager.order_by()
        keys = [pk for one in wanted for pk in rows.filter(one).values_list("pk", flat=True)[:1000]]
        return queryset.filter(pk__in=keys), False


@admin.register(Player)
class PlayerAdmin(Searched):
    list_display = ("id", "masked_phone", "created_at")
    list_display_links = ("id", "masked_phone", "phone")
    fields = ("masked_phone", "created_at")
    readonly_fields = ("masked_phone",)
    search_help_text = "A phone number in any form"
    wanted_by_phone = "phone"


@admin.register(StakeLevel)
class StakeLevelAdmin(ReadOnlyAdmin):
    list_display = ("amount",)


class ReasonFilter(admin.SimpleListFilter):
    """By the reasons that there are: asking the table for them would read all of it."""

    title = "why it is over"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ENDS.items())

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(reason=self.value()) if self.value() in ENDS else queryset


@admin.register(Entry)
class EntryAdmin(Searched):
    list_display = ("created_at", "masked_phone", "stake_amount", "now", "display_name", "match_code", "session")
    list_display_links = ("created_at", "masked_phone", "phone")
    list_filter = ("status", ReasonFilter)
    list_select_related = ("player", "session")
    readonly_fields = ("masked_phone", "phone", "now")
    search_help_text = "A phone number in any form, a match code, or a transaction id"
    wanted_by_phone = "player__phone"

    def wanted(self, term: str) -> list[Q]:
        return [Q(match_code=term.upper()), Q(payment__transaction_id=term)]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All, but numbers for who may see them alone."""
        names = ["masked_phone", "now", *(field.name for field in Entry._meta.concrete_fields if field.name != "id")]
        in_full = request.user.has_perm("sms.view_full_phone")
        return [name for name in for_whom(request, names) if in_full or name not in ("player", "invite_phone")]

    @admin.display(description="state")
    def now(self, entry: Entry) -> str:
        return state_words(entry)


class EntryInline(ReadOnly, admin.TabularInline):
    model = Entry
    extra = 0
    show_change_link = True
    shown = ("masked_phone", "display_name", "match_code", "created_at")
    readonly_fields = ("masked_phone", "phone", "display_name", "match_code", "created_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return for_whom(request, self.shown)

    @admin.display(description="phone")
    def masked_phone(self, entry: Entry) -> str:
        return mask_phone(entry.phone)


@admin.register(Session)
class SessionAdmin(Searched):
    list_display = ("id", "stake_amount", "prize_amount", "status", "created_at", "expires_at")
    inlines = (EntryInline,)
    search_help_text = "A phone number in any form, or the token of the match's link"
    wanted_by_phone = "entries__player__phone"

    def wanted(self, term: str) -> list[Q]:
        return [Q(token=term)]


@admin.register(GameWorker)
class GameWorkerAdmin(ReadOnlyAdmin):
    list_display = ("name", "alive", "started_at", "seen_at")

    @admin.display(boolean=True)
    def alive(self, worker: GameWorker) -> bool:
        return worker.is_alive

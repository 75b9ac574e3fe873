from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from game.models import Entry, Player, Session, StakeLevel


class ReadOnlyAdmin(admin.ModelAdmin):
    """What the game decided is for reading; an operator who edits it would leave players and texts behind."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Player)
class PlayerAdmin(ReadOnlyAdmin):
    list_display = ("id", "phone", "created_at")
    search_fields = ("phone",)


@admin.register(StakeLevel)
class StakeLevelAdmin(ReadOnlyAdmin):
    list_display = ("amount",)


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("id", "phone", "stake_amount", "display_name", "state", "reason", "match_code", "created_at")
    list_filter = ("status", "reason")
    list_select_related = ("player", "session")
    search_fields = ("player__phone", "match_code", "payment__transaction_id")


class EntryInline(admin.TabularInline):
    model = Entry
    extra = 0
    fields = ("phone", "display_name", "match_code", "created_at")
    readonly_fields = fields
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("id", "token", "stake_amount", "prize_amount", "status", "created_at", "expires_at")
    search_fields = ("token",)
    inlines = (EntryInline,)

"""Models that belong to no other app: failed logins, and operators' notes on players."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from game.models import Player


class FailedLogin(models.Model):
    """A failed login to the admin. `name` is a hash, because some people type their password as the user name."""

    name = models.CharField(max_length=64)
    address = models.CharField(max_length=45, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["name", "at"], name="login_name"),
            models.Index(fields=["address", "at"], name="login_address"),
            models.Index(fields=["at"], name="login_at"),
        ]

    def __str__(self) -> str:
        return f"failed login at {self.at:%H:%M:%S}"


class PlayerNote(models.Model):
    """An operator's note on a player, shown on the player's timeline."""

    player = models.ForeignKey(Player, on_delete=models.CASCADE, related_name="notes")
    text = models.CharField(max_length=500)
    author = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "note on a player"
        verbose_name_plural = "notes on players"

    def __str__(self) -> str:
        return f"Note {self.pk} by {self.author}"

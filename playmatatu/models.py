"""Tables of the service itself: failed logins."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class FailedLogin(models.Model):
    """A failed login to the admin, kept while it counts. `name` is a hash, because people type passwords there."""

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

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from game.notifications import text_opened
from game.stakes import expire_old, left_unopened, open_paid
from payments.models import Payment


class Command(BaseCommand):
    help = "Expire old entries, and open the paid ones that a crash or a failure left unopened. For cron."

    def handle(self, *args: Any, **options: Any) -> None:
        opened = 0
        for payment in left_unopened():
            with transaction.atomic():
                locked = Payment.objects.select_for_update().get(pk=payment.pk)
                entry = open_paid(locked)
                text_opened(locked)
            opened += entry is not None and entry.opened_at is not None
        self.stdout.write(f"expired: {expire_old()}, opened: {opened}")

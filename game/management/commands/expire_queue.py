import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from game.notifications import text_opened
from game.rules.ending import expire_old
from game.rules.opening import left_unopened, open_paid
from payments.models import Payment

logger = logging.getLogger("game.expire_queue")


class Command(BaseCommand):
    help = "Expire old entries, and open the paid ones that a crash or a failure left unopened. For cron."

    def handle(self, *args: Any, **options: Any) -> None:
        opened = failed = 0
        for payment in left_unopened():
            try:
                opened += _open(payment)
            # One that cannot be opened must not keep the others waiting.
            except Exception:
                failed += 1
                logger.exception("Payment %s could not be opened.", payment.pk)
        self.stdout.write(f"expired: {expire_old()}, opened: {opened}")
        if failed:
            raise CommandError(f"{failed} paid entries could not be opened; the log says why.")


def _open(payment: Payment) -> bool:
    with transaction.atomic():
        locked = Payment.objects.select_for_update().get(pk=payment.pk)
        entry = open_paid(locked)
    # The entry stays open where its text fails; a repeated callback sends it.
    with transaction.atomic():
        text_opened(locked)
    return entry is not None and entry.opened_at is not None

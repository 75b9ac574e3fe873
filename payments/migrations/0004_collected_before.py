from typing import Any

from django.db import migrations
from django.db.models import Exists, F, Max, Min, OuterRef, Q

BATCH = 5000


def note_collected(apps: Any, schema_editor: Any) -> None:
    """Payments that a callback has settled were collected then; approved ones never were. In batches, by id."""
    Payment, Callback = apps.get_model("payments", "Payment"), apps.get_model("payments", "Callback")
    alias = schema_editor.connection.alias
    payments = Payment.objects.using(alias)
    span = payments.aggregate(first=Min("id"), last=Max("id"))
    if span["first"] is None:
        return
    said = Callback.objects.using(alias).filter(payment=OuterRef("pk"), applied=True)
    money = Q(Exists(said)) | Q(refund_due=True) | Q(refunded_at__isnull=False)
    for start in range(span["first"], span["last"] + 1, BATCH):
        payments.filter(money, id__gte=start, id__lt=start + BATCH, status="SUCCESS", collected_at=None).update(
            collected_at=F("settled_at"), settled_by="callback"
        )


class Migration(migrations.Migration):
    # Each batch is a transaction of its own: no row stays locked for long.
    atomic = False

    dependencies = [
        ('payments', '0003_indexes'),
    ]

    operations = [migrations.RunPython(note_collected, migrations.RunPython.noop)]

from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    """Not in 0018: a migration that is not atomic and was interrupted could not add the column again."""

    atomic = False

    dependencies = [
        ("payments", "0018_payment_signal_due"),
    ]

    operations = [
        AddIndexUnlocked(
            model_name="payment",
            index=models.Index(
                condition=models.Q(("signal_due_since__isnull", False)), fields=["id"], name="payment_signal_due"
            ),
        ),
    ]

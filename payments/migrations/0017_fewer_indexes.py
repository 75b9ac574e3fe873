import django.db.models.deletion
from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked, drop_indexes_unlocked


class Migration(migrations.Migration):
    """Replace indexes of mostly empty columns with partial ones, and drop those that no query uses.

    Only the state of the fields changes: in the database, Django would also make the foreign keys again, which locks
    the tables while all rows are checked.
    """

    atomic = False

    dependencies = [
        ("payments", "0016_withdrawal_once"),
    ]

    operations = [
        AddIndexUnlocked(
            model_name="callback",
            index=models.Index(
                condition=models.Q(("payment__isnull", False)), fields=["payment"], name="callback_payment"
            ),
        ),
        AddIndexUnlocked(
            model_name="paymentevent",
            index=models.Index(
                condition=models.Q(("callback__isnull", False)), fields=["callback"], name="event_callback"
            ),
        ),
        AddIndexUnlocked(
            model_name="paymentevent",
            index=models.Index(condition=models.Q(("payout__isnull", False)), fields=["payout"], name="event_payout"),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="callback",
                    name="payment",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="callbacks",
                        to="payments.payment",
                    ),
                ),
                migrations.AlterField(
                    model_name="payment",
                    name="refund_due",
                    field=models.BooleanField(default=False),
                ),
                migrations.AlterField(
                    model_name="paymentevent",
                    name="callback",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="payments.callback",
                    ),
                ),
                migrations.AlterField(
                    model_name="paymentevent",
                    name="payout",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="payments.refund",
                    ),
                ),
            ],
        ),
        drop_indexes_unlocked(
            payments_callback_payment_id_912baa66="payments_callback (payment_id)",
            payments_payment_refund_due_b401cc03="payments_payment (refund_due)",
            payments_paymentevent_callback_id_63d8c42d="payments_paymentevent (callback_id)",
            payments_paymentevent_payout_id_6c46e1a4="payments_paymentevent (payout_id)",
            # For searches by the first characters of a transaction id.
            payments_payment_transaction_id_55f6af3a_like="payments_payment (transaction_id varchar_pattern_ops)",
        ),
    ]

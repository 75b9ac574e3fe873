from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0008_plain_labels'),
    ]

    operations = [
        _unlocked.AddIndexUnlocked(
            model_name='ledgerentry',
            index=models.Index(condition=models.Q(('debit__in', ('elsewhere', 'lost', 'commission', 'opening', 'contested', 'refund_due', 'refund_transit', 'prize', 'prize_transit')), ('credit__in', ('elsewhere', 'lost', 'commission', 'opening', 'contested', 'refund_due', 'refund_transit', 'prize', 'prize_transit')), _connector='OR'), fields=['id'], name='ledger_rare'),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='paymentevent',
            index=models.Index(fields=['at'], name='event_at'),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('kind__in', ('requested', 'claimed', 'request_pending', 'word', 'polled', 'notified', 'activated', 'matched')), _negated=True), fields=['kind', 'id'], name='event_rare_kind'),
        ),
    ]

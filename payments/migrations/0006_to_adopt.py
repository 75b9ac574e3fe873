from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0005_journal_and_ledger'),
    ]

    operations = [
        _unlocked.AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('version', 0), ('stale', True), _connector='OR'), fields=['id'], name='payment_to_adopt'),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('place__in', ('', 'in_use', 'refunded')), _negated=True), fields=['place', 'id'], name='payment_place'),
        ),
    ]

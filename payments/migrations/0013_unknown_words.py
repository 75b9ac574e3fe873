from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0012_withdrawals_and_fees'),
    ]

    operations = [
        _unlocked.AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('other_since__isnull', False)), fields=['other_since'], name='payment_other_word'),
        ),
    ]

from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0010_signal_due'),
    ]

    operations = [
        _unlocked.AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('answer_owed_since__isnull', False)), fields=['id'], name='payment_answer_owed'),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='refund',
            index=models.Index(condition=models.Q(('start_at__isnull', False), ('state__in', ('in_doubt', 'failed'))), fields=['start_at'], name='refund_to_poll'),
        ),
    ]

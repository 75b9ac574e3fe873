from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('game', '0006_refund_told'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(condition=models.Q(('opened_at__isnull', False), ('refund_told', False), ('session', None), ('status', 'expired')), fields=['expires_at'], name='entry_untold'),
        ),
    ]

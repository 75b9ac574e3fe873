from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('game', '0003_addresses_and_wrong_codes'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(condition=models.Q(('invite_phone', ''), _negated=True), fields=['client_site', 'opened_at'], name='entry_invited_site'),
        ),
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(condition=models.Q(('opened_at', None)), fields=['client_address', 'created_at'], name='entry_unpaid_from'),
        ),
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(condition=models.Q(('opened_at', None)), fields=['client_site', 'created_at'], name='entry_unpaid_site'),
        ),
    ]

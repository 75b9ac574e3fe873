from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0002_collection_and_refunds'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='callback',
            index=models.Index(condition=models.Q(('refusal', ''), _negated=True), fields=['received_at'], name='callback_refused'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('collection__in', ('due', 'asking'))), fields=['start_at'], name='payment_to_start'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('next_ask_at__isnull', False)), fields=['next_ask_at'], name='payment_to_ask'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('collection__in', ('in_doubt', 'unresolved'))), fields=['id'], name='payment_doubt'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('contested', True)), fields=['id'], name='payment_contested'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('collected_at__isnull', False)), fields=['collected_at'], name='payment_collected'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(fields=['created_at'], name='payment_created'),
        ),
        AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('provider_id', ''), _negated=True), fields=['provider_id'], name='payment_provider_id'),
        ),
    ]

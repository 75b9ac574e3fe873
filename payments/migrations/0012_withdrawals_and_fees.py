import django.utils.timezone
from django.db import migrations, models

from payments.migrations import _append_only


def install(apps, schema_editor):
    _append_only.install(schema_editor.connection, _append_only.TABLES[2:])


def remove(apps, schema_editor):
    _append_only.remove(schema_editor.connection, _append_only.TABLES[2:])


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0011_answers_owed'),
    ]

    operations = [
        migrations.CreateModel(
            name='ProviderDebit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('account', models.CharField(choices=[('fees', 'fee of the provider'), ('withdrawals', 'withdrawal by the owner')], max_length=14, verbose_name='what it was')),
                ('amount', models.BigIntegerField(help_text='Negative to correct an earlier entry.', verbose_name='amount (UGX)')),
                ('actor', models.CharField(max_length=150, verbose_name='entered by')),
                ('note', models.CharField(help_text="For example the line of the provider's statement.", max_length=300)),
            ],
            options={
                'verbose_name': 'withdrawal or fee',
                'verbose_name_plural': 'withdrawals and fees',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['at'], name='provider_debit_at')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount', 0), _negated=True), name='provider_debit_not_zero')],
            },
        ),
        migrations.RunPython(install, remove),
    ]

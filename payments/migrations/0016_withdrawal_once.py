from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0015_collection_words'),
    ]

    operations = [
        migrations.AddField(
            model_name='providerdebit',
            name='key',
            field=models.UUIDField(null=True, unique=True),
        ),
    ]

from django.apps import AppConfig
from django.contrib.admin import apps
from django.db.models.signals import post_migrate, pre_migrate


class PlayMatatuConfig(AppConfig):
    name = "playmatatu"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from playmatatu import alert_sources, checks, postgres  # noqa: F401
        from sms.alerts import register

        for source in alert_sources.SOURCES:
            register(source)
        pre_migrate.connect(postgres.migration_begins)
        post_migrate.connect(postgres.migration_ends)


class AdminConfig(apps.AdminConfig):
    default = False
    default_site = "playmatatu.admin.Site"

from django.apps import AppConfig
from django.contrib.admin import apps


class PlayMatatuConfig(AppConfig):
    name = "playmatatu"
    default = True
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from playmatatu import checks  # noqa: F401
        from playmatatu.operator.alerting import contested, late_work
        from sms.alerts import register

        register(contested)
        register(late_work)


class AdminConfig(apps.AdminConfig):
    default = False
    default_site = "playmatatu.admin.Site"

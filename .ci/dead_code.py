"""Print code that nothing in the product uses; exit 1 if there is any. Run from the root of a checkout.

Vulture reads Python only, so names in templates and in the framework's vocabulary below count as used. Tests do not
count as users: code that only tests call is dead.
"""

import re
import sys
from pathlib import Path

from vulture import Vulture

APPS = ["sms", "game", "payments", "playmatatu"]

# Looked up by name by Django, ninja, pydantic, gunicorn, http.server, urllib3, requests, logging or argparse.
FRAMEWORK = {
    "Meta", "Media", "Command", "add_arguments", "handle", "requires_system_checks", "help", "urlpatterns", "app_name",
    "handler400", "handler403", "handler404", "handler500", "application", "default_auto_field", "default_site", "ready",
    "lookups", "queryset", "formfield_overrides", "get_list_display", "has_add_permission", "has_change_permission",
    "has_delete_permission", "has_view_permission", "get_queryset", "get_search_results", "changeform_view",
    "changelist_view", "get_urls", "get_readonly_fields", "get_fields", "get_fieldsets", "lookup_allowed", "save_model",
    "delete_model", "response_delete", "response_add", "login_form", "each_context", "index", "app_index",
    "get_latest_by", "permissions", "constraints", "indexes", "ordering", "verbose_name", "verbose_name_plural",
    "ConnectionCls", "response_class", "readable", "readinto", "close_connection", "trust_env", "pool_classes_by_scheme",
    "wbufsize", "protocol_version", "disable_nagle_algorithm", "daemon_threads", "request_queue_size", "do_GET",
    "do_HEAD", "do_POST", "do_PUT", "log_message", "log_request", "server_version", "init_poolmanager", "format",
    "filter", "emit", "default_app_config", "dependencies", "operations", "css", "prefix", "allowed_permissions",
    "short_description", "_savepoint", "_savepoint_commit", "_savepoint_rollback",
    "process",
}  # fmt: skip
# The public interface of the `sms` app: documented in docs/sms-app.md, called by other projects.
PUBLIC_MODULES = ("sms/testing.py", "playmatatu_sms_pytest.py")
PUBLIC = {"aqueue_sms", "asend_sms"}
# Sentences that libraries format; listed so that makemessages finds them.
PUBLIC |= {"PHONE_SENTENCES"}
# Django calls these by a pattern of their name.
BY_PATTERN = re.compile(
    r"clean_\w+|has_\w+_permission|get_list_\w+|process_\w+|\w+Config|parse_body|handle_error|on_error"
)


def main() -> int:
    vulture = Vulture(
        ignore_decorators=["@receiver*", "@_on*", "@admin.*", "@router.*", "@api.*", "@register*", "@field_validator*",
                           "@model_validator*", "@pytest.*", "@display*", "@*.get", "@*.post", "@hookimpl*"],
    )  # fmt: skip
    vulture.scavenge(APPS)
    templates = [path for app in APPS for path in Path(app).rglob("templates/**/*") if path.is_file()]
    in_templates = set(re.findall(r"[A-Za-z_]\w+", " ".join(path.read_text() for path in templates)))
    python = " ".join(path.read_text() for app in APPS for path in Path(app).rglob("*.py"))
    by_dotted_path = set(re.findall(r"\"(?:\w+\.)+(\w+)\"", python))  # middleware, formatters, the admin site
    vulture.used_names |= in_templates | by_dotted_path | FRAMEWORK | PUBLIC
    found = vulture.get_unused_code(min_confidence=60)
    dead = [item for item in found if "migrations" not in item.filename.parts and not _by_declaration(item)]
    for item in dead:
        print(f"{item.filename.relative_to(Path.cwd())}:{item.first_lineno}: unused {item.typ} {item.name}")
    return bool(dead)


def _by_declaration(item) -> bool:
    """Return True if the framework reads this declaration: a field, a setting, an argument of a callback."""
    if BY_PATTERN.fullmatch(item.name) or item.filename.as_posix().endswith(PUBLIC_MODULES):
        return True
    if item.typ == "import":  # ruff decides; vulture does not see quoted annotations
        return True
    if item.typ in ("variable", "attribute"):
        # A field of a model, form, schema or dataclass, an argument of a signal, a setting. Constants elsewhere need a reader.
        return not item.name.isupper() or item.filename.name in ("settings.py", "devsettings.py", "formats.py")
    return False


if __name__ == "__main__":
    sys.exit(main())

from playmatatu.sandbox.server import Server
from sms.management.commands import dmark_sandbox


class Command(dmark_sandbox.Command):
    help = "Run a fake DMark, DMarkPay and game server for development and tests, with a switch for each fault."
    server_class = Server
    settings_names = "SMS_SERVICE_BASE_URL and DMARK_PAY_BASE_URL"

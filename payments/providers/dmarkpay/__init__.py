"""DMarkPay, DMark's gateway to MTN and Airtel money: `responses` reads, `client` does the HTTP."""

from payments.providers.dmarkpay.client import DMarkPay as DMarkPay


def configured() -> DMarkPay | None:
    """Return the client, or None if its settings are incomplete."""
    client = DMarkPay()
    return client if client.config.enabled else None

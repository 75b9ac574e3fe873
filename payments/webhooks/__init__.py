"""HTTP requests that we receive about payments: authenticated callbacks, and DMarkPay's unsigned notifications."""

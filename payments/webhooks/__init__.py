"""HTTP calls that we receive about payments: signed callbacks, and DMarkPay's unsigned notifications."""

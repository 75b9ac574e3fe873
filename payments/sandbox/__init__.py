"""The sandbox of DMarkPay: payins, payouts, notifications and payment prompts, on the port of the SMS sandbox."""

"""A fake DMarkPay (mobile money provider) for development and tests.

It simulates payins (payments to us), payouts, notifications, and payment prompts on phones. It runs on the same port as
the fake DMark.
"""

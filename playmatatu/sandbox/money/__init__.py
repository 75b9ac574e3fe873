"""A fake DMarkPay (mobile money provider) for development and tests, on the same port as the fake DMark."""

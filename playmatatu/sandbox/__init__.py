"""The sandbox of `make run`: DMark, DMarkPay and a stub of the game server, on one port."""

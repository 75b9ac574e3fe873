"""The sandbox of `make run`: fakes of DMark (SMS), DMarkPay (payments) and the game server, on one port."""

"""The sandbox of `make run`: fake servers of DMark (SMS), DMarkPay (payments) and the game, on one port."""

"""The rules about money: pure functions of values, without database, HTTP or clock."""

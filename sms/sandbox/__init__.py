"""The stand-in for DMark: over real HTTP, with an inbox and a switch for each fault. Nothing else imports it."""

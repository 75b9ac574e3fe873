"""The sandbox: a fake DMark over real HTTP, with a page of phones and a switch for each fault."""

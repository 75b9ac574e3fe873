"""DMark's protocol: requests, responses and the access token. This package uses no database."""

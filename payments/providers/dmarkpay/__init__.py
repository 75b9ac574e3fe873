"""DMarkPay, DMark's gateway to the mobile money of MTN and Airtel.

`client` makes the HTTP requests, and `responses` interprets the responses.
"""

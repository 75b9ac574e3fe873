"""DMarkPay, DMark's service for mobile money of MTN and Airtel.

`client` makes HTTP requests, and `responses` interprets the responses.
"""

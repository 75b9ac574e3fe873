"""DMarkPay, DMark's gateway to MTN and Airtel money: `responses` reads, `client` does the HTTP."""

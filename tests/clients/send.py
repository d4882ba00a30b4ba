"""send.py PORT RECIPIENT FILE...   sends each file as it is, with Python's own smtplib.

It does not know what the files hold; tests/clients.rs calls it.
"""
import smtplib
import sys

port, recipient, *files = sys.argv[1:]
for name in files:
    with open(name, "rb") as file:
        message = file.read()
    with smtplib.SMTP("127.0.0.1", int(port), timeout=60) as client:
        refused = client.sendmail("sender@example.net", [recipient], message)
        assert refused == {}, refused

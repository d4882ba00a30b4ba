"""scram.py PORT USER PASSWORD [CERTIFICATE]: logs in to a POP3 server by SCRAM-SHA-256 (RFC 7677),
over STLS where a certificate is given, checks the server's own proof, and prints what STAT says."""
import base64
import hashlib
import hmac
import os
import poplib
import ssl
import sys

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def sign(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def fields(text):
    return dict(part.split("=", 1) for part in text.split(","))


client = poplib.POP3("localhost", port, timeout=60)
if len(sys.argv) > 4:
    client.stls(ssl.create_default_context(cafile=sys.argv[4]))
assert "SCRAM-SHA-256" in client.capa()["SASL"]
nonce = base64.b64encode(os.urandom(18)).decode()
bare = f"n={user},r={nonce}"


def ask(line):
    client._putcmd(line)
    answer = client._getline()[0].decode()
    if not answer.startswith("+ "):
        sys.exit(answer)
    return base64.b64decode(answer[2:]).decode()


def said(text):
    return base64.b64encode(text.encode()).decode()


first = ask("AUTH SCRAM-SHA-256 " + said("n,," + bare))
given = fields(first)
assert given["r"].startswith(nonce) and given["r"] != nonce
salt, rounds = base64.b64decode(given["s"]), int(given["i"])
salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
key = sign(salted, b"Client Key")
without = f"c=biws,r={given['r']}"
whole = f"{bare},{first},{without}".encode()
signature = sign(hashlib.sha256(key).digest(), whole)
proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
last = fields(ask(said(f"{without},p={proof}")))
assert base64.b64decode(last["v"]) == sign(sign(salted, b"Server Key"), whole), "the server's proof"
client._shortcmd("")
print(*client.stat())
client.quit()

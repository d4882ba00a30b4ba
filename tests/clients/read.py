"""read.py PORT USER PASSWORD FOLDER   all mail into FOLDER/1, /2, ... with Python's own poplib.

It does not know what was sent; tests/clients.rs calls it.
"""
import poplib
import sys

port, user, password, folder = sys.argv[1:]
# Its own limit is 2048 octets a line, and there is no public way to raise it.
poplib._MAXLINE = 1 << 20
client = poplib.POP3("127.0.0.1", int(port), timeout=60)
client.user(user)
client.pass_(password)
count, octets = client.stat()
assert len(client.uidl()[1]) == count
sizes = [int(line.split()[1]) for line in client.list()[1]]
assert sum(sizes) == octets, (sizes, octets)
for number in range(1, count + 1):
    _, lines, _ = client.retr(number)
    message = b"".join(line + b"\r\n" for line in lines)
    assert len(message) == sizes[number - 1], (number, len(message), sizes[number - 1])
    with open(f"{folder}/{number}", "wb") as file:
        file.write(message)
client.quit()

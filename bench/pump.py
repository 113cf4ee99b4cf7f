"""A TCP pump that runs on machines: `pump.py take PORT`, then `pump.py give ADDRESS PORT SECONDS`. Python 3.10.

The taker serves one connection and prints, as the payload's bytes per second, what arrived after the first half
second, in which TCP finds its pace.
"""

import socket
import sys
import time

CHUNK = 1 << 20
WARM_UP = 0.5
PATIENCE = 10


def take(port: int) -> float:
    """Bytes per second of the one connection that comes within 30 s."""
    with socket.create_server(("", port)) as server:
        server.settimeout(30)
        connection, _ = server.accept()
    buffer = bytearray(CHUNK)
    with connection:
        connection.settimeout(30)
        begun = time.monotonic()
        started = last = begun
        count = 0
        while size := connection.recv_into(buffer):
            last = time.monotonic()
            if last - begun < WARM_UP:
                started = last
            else:
                count += size
    return count / (last - started)


def give(address: str, port: int, seconds: float) -> None:
    """Send for `seconds`; waits up to PATIENCE seconds for the taker to listen."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=5)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    payload = bytes(CHUNK)
    with connection:
        connection.settimeout(30)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(payload)


if __name__ == "__main__":
    if sys.argv[1] == "take":
        print(take(int(sys.argv[2])))
    else:
        give(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

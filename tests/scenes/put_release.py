"""``put_release.py URL CA_FILE ARCHIVE NUMBER SIGNATURE`` pushes a release and prints the status of the answer.

Runs at the desk of the local cloud, with nothing but the standard library.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit


def main() -> None:
    url, ca_file, archive, number, signature = sys.argv[1:]
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=60)
    headers = {"X-Hybridnet-Number": number, "X-Hybridnet-Signature": signature}
    connection.request("PUT", "/v1/release", Path(archive).read_bytes(), headers)
    print(connection.getresponse().status)


if __name__ == "__main__":
    main()

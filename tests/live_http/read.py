"""Reads a stream to its end by the protocol's client, and prints each batch: ADDRESS LIVE COOKIE.

The client doesn't tell the end of a stream, so HEAD does.
"""

import json
import sys
import time

import httpx
from durable_streams import DurableStreamError, stream


def main(url: str, live: str, cookie: str) -> None:
    headers = {"Cookie": cookie}
    offset, is_closed = "-1", False
    while not is_closed:
        try:
            with stream(url, offset=offset, live=live, headers=headers, timeout=60) as response:
                for event in response.iter_events(mode="json"):
                    if event.data:
                        sys.stdout.write(f"{json.dumps(event.data)}\n")
                        sys.stdout.flush()
                    offset = event.next_offset
                    if is_closed := is_end(url, offset, headers):
                        break
            is_closed = is_closed or is_end(url, offset, headers)
        except (httpx.HTTPError, DurableStreamError) as error:
            sys.stderr.write(f"{error!r}\n")
            time.sleep(0.1)


def is_end(url: str, offset: str, headers: dict[str, str]) -> bool:
    found = httpx.head(url, headers=headers).headers
    return found.get("Stream-Closed") == "true" and found["Stream-Next-Offset"] == offset


if __name__ == "__main__":
    main(*sys.argv[1:])

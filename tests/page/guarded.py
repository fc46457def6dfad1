"""`zhclip` in a process that may connect to this machine alone; an attempt to reach another is printed and refused."""

import ipaddress
import signal
import sys

import zhclip_cli

ASKED = "asked for another host:"
HERE = ("localhost", "127.0.0.1", "::1", "", None)


def is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    try:
        return host in HERE or ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def guard(event: str, arguments: tuple) -> None:
    host = None
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    if not is_here(host):
        print(ASKED, host, file=sys.stderr, flush=True)
        raise OSError(f"{ASKED} {host}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    sys.addaudithook(guard)
    sys.exit(zhclip_cli.main())

"""Protection against web pages: requests with foreign origins or host names are refused.

Any page in a browser on this machine can send requests to the loopback interface, and a page whose
host name resolves to 127.0.0.1 (DNS rebinding) can also read the answers. Browsers reveal this in
`Origin`, `Sec-Fetch-Site` and `Host`; other programs omit the first two and send a loopback name in
the third.
"""

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from ..errors import ApiError, forbidden


def parse_origin(text: str) -> str:
    """Parse an allowed origin into the form that browsers send."""
    parts = urlsplit(text)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.path not in {"", "/"}
        or "@" in text
    ):
        raise ValueError(f"{text!r} is not an origin, such as https://app.example:8443")
    # Browsers send neither the default port nor other letters than ASCII.
    place = parts.netloc.removesuffix(":443" if parts.scheme == "https" else ":80")
    return f"{parts.scheme}://{place.encode('idna').decode()}".lower()


def refusal(
    headers: Mapping[str, str], port: int, allowed: Collection[str], *, admin: bool
) -> ApiError | None:
    """Return a 403 for a request of a foreign page; None if the request is allowed.

    Pages of `allowed` origins may call the API like pages of this machine, but not the admin
    endpoints.
    """
    host = headers.get("host")
    if host is not None and not _is_this_server(host, port):
        return forbidden(
            "forbidden",
            f"The emulator answers to localhost:{port} and 127.0.0.1:{port} only; "
            "this request names another host.",
        )
    origin = headers.get("origin")
    if origin is None:
        foreign = headers.get("sec-fetch-site", "").strip().lower() == "cross-site"
    else:
        foreign = not _is_loopback_origin(origin) and (admin or origin.lower() not in allowed)
    if not foreign:
        return None
    remedy = "" if admin else " Start it with --allow-origin for a page that your tests need."
    return forbidden("forbidden", f"The emulator does not answer pages of other sites.{remedy}")


def _is_this_server(host: str, port: int) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        named = parts.port if parts.port is not None else 80
    except ValueError:
        return False
    if parts.netloc != host or parts.username is not None:
        return False
    return named == port and _is_loopback(parts.hostname)


def _is_loopback_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and _is_loopback(parts.hostname)


def _is_loopback(name: str | None) -> bool:
    if name is None:
        return False
    # Browsers resolve localhost and its subdomains to this machine without DNS.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

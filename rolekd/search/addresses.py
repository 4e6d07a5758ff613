"""Addresses of storages and artifact stores, without their passwords in anything that is shown."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

# user:password@ of any URL in a text. A password may hold "@" or "/" that nobody escaped, so the
# match runs to the last "@" before a blank or a quote.
_USERINFO = re.compile(r"(?P<scheme>\w[\w+.-]*://)(?P<user>[^:/@\s'\"]*):[^\s'\"]*@")
_SECRET_FIELD = re.compile(
    r"(?P<key>\b(?:password|passwd|pwd|secret|token|sslpassword)\s*=\s*)(?P<value>[^\s&;,'\")]+)",
    re.IGNORECASE,
)


def redact(text: str, *addresses: str) -> str:
    """Return `text` with passwords replaced by ***.

    Removed are the passwords in any URL or `password=` field of the text, and, wherever they
    stand, those of the given `addresses`, as written there and unescaped.
    """
    for address in addresses:
        for secret in _secrets(address):
            text = text.replace(secret, "***")
    text = _USERINFO.sub(r"\g<scheme>\g<user>:***@", text)
    return _SECRET_FIELD.sub(r"\g<key>***", text)


def absolute(address: str) -> str:
    """Return the address of an artifact store; a folder's with its whole path."""
    return address if address.startswith("s3://") else str(Path(address).absolute())


def _secrets(address: str) -> list[str]:
    found = [match["value"] for match in _SECRET_FIELD.finditer(address)]
    try:
        password = urlsplit(address).password
    except ValueError:
        password = None
    if password:
        found.append(password)
    # A short one ("a") would blank letters all over a message; the patterns above cover it.
    both = {secret for written in found for secret in (written, unquote(written))}
    return sorted((secret for secret in both if len(secret) > 3), key=len, reverse=True)

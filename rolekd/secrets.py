"""Secrets stay out of whatever is shown or recorded.

Standard library only, so that the search, the tracking and the command line can share it.
"""

import re
from urllib.parse import unquote, urlsplit

# Up to the last "@" before a blank or a quote: a password may hold "@" and "/" unescaped. The
# user goes too: where a token is the whole user part, nothing tells it from a name.
_USER_PART = re.compile(r"(?<=://)[^\s'\"]+(?=@)")
_SECRET_PAIR = re.compile(
    r"((?:(?:password|passwd|pwd|token|secret|credential|api_?key|signature)[a-z_]*|\bsig)\s*=\s*)"
    r"([^\s&;,'\")]+)",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(
    r"(^|[._-])(passw(or)?d|tokens?|secrets?|credentials?|(api|access|private)_?key)$", re.I
)


def redact(text: str, *addresses: str) -> str:
    """Return `text` with *** for the user part of URLs and the values of secret-like pairs.

    Passwords of the given `addresses` are blanked wherever they stand, as written there and
    unescaped.
    """
    for address in addresses:
        for secret in _secrets(address):
            text = text.replace(secret, "***")
    return _SECRET_PAIR.sub(r"\1***", _USER_PART.sub("***", text))


def is_secret(key: str) -> bool:
    """Tell whether a parameter or tag of this name holds a secret."""
    return _SECRET_KEY.search(key) is not None


def _secrets(address: str) -> list[str]:
    found = [match[2] for match in _SECRET_PAIR.finditer(address)]
    try:
        password = urlsplit(address).password
    except ValueError:
        password = None
    if password:
        found.append(password)
    # A short one ("a") would blank letters all over a message; the patterns above cover it.
    both = {secret for written in found for secret in (written, unquote(written))}
    return sorted((secret for secret in both if len(secret) > 3), key=len, reverse=True)

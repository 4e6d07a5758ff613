"""Secrets stay out of whatever is shown or recorded.

Standard library only, so that the search, the tracking and the command line can share it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

# The bounds keep the time for a text without any "@" linear in its length.
_LONGEST = 1000
# Up to the last "@" before a blank or a quote: a password may hold "@" and "/" unescaped. The
# user goes too: where a token is the whole user part, nothing tells it from a name. The second
# form is for a password with a quote in it.
_USER_PART = re.compile(rf"(?<=://)(?:[^\s'\"]{{1,{_LONGEST}}}|[^\s/?#@]{{1,{_LONGEST}}})(?=@)")
# user:password@host without a scheme; models:/NAME@ALIAS is none
_BARE_USER_PART = re.compile(
    rf"(?<![^\s'\"`(\[{{<,;=])[^\s'\"`:/@=(\[{{<,;]{{0,100}}:(?!/)[^\s'\"]{{1,{_LONGEST}}}(?=@[\w\[])"
)
_NAMES = (
    r"(?:password|passwd|pwd|passphrase|token|secret|credential|signature"
    r"|(?:api|access|account|private|secret)[_-]?key)[a-z_-]*|\bsig|(?<=[?&])key"
)
# NAME=value of queries and drivers, "NAME": "value" of JSON and of a mapping's repr
_SECRET_PAIR = re.compile(
    rf"((?:{_NAMES})(?:\s{{0,9}}=\s{{0,9}}|\\?['\"]\s{{0,9}}[:=]\s{{0,9}}))"
    r"(\\?\"[^\"]*\"|\\?'[^']*'|[^\s&;,'\")\]}]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(\bauthorization\\?['\"]?\s{0,9}[:=]\s{0,9}\\?['\"]?(?:\w+\s)?|\bbearer\s(?=\S{16}))[^\s,'\"]+",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(
    r"(^|[._-])(passw(or)?d|passphrase|tokens?|secrets?|credentials?|(api|access|private)_?key)$",
    re.I,
)
_SECRET_VARIABLE = re.compile(r"PASSW|PASSPHRASE|TOKEN|SECRET|CREDENTIAL|(API|PRIVATE)_?KEY", re.I)

_remembered: set[str] = set()


def redact(text: str, *addresses: str) -> str:
    """Return `text` with *** for the user part of addresses and the values of secret-like pairs.

    Passwords of the given `addresses`, and what was remembered, are blanked wherever they stand,
    as written there and unescaped.
    """
    for secret in sorted(_remembered.union(*map(_secrets, addresses)), key=len, reverse=True):
        text = text.replace(secret, "***")
    if "@" in text:
        text = _BARE_USER_PART.sub("***", _USER_PART.sub("***", text))
    return _SECRET_PAIR.sub(r"\1***", _HEADER.sub(r"\1***", text))


def remember(*addresses: str | None) -> None:
    """Blank the passwords of these addresses from now on, also where they stand alone."""
    for address in addresses:
        _remembered.update(_secrets(address or ""))


def remember_process(environment: Mapping[str, str], arguments: Iterable[str]) -> None:
    """Remember the secrets that a process was given: in its environment and its arguments."""
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= 8:  # not "true" or "test"
            _remembered.add(value)
        if "://" in value:
            remember(value)
    for argument in arguments:
        remember(argument, argument.partition("=")[2])


def is_secret(key: str) -> bool:
    """Return whether a parameter or tag of this name holds a secret."""
    return _SECRET_KEY.search(key) is not None


def blanked(value: Any, key: str = "") -> Any:
    """Return a JSON-like value with every text redacted, and *** under the name of a secret."""
    if value is not None and is_secret(key):
        return "***"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: blanked(one, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [blanked(one) for one in value]
    return value


def _secrets(address: str) -> set[str]:
    found = [match[2].strip("\\'\"") for match in _SECRET_PAIR.finditer(address)]
    # by the rules, and up to the last "@", as people write them
    scheme, mark, rest = address.rpartition("://")
    if mark or re.match(r"[^\s/:@=]*:(?!/)\S+@", address):
        user, _, password = rest.rpartition("@")[0].partition(":")
        found.append(password or ("" if "/" in user else user))  # a token may stand alone
        try:
            split = urlsplit(f"{scheme}{mark or '//'}{rest}")
            found.append(split.password or (split.username if not password else "") or "")
        except ValueError:
            pass
    # A short one ("a") would blank letters all over a message; the patterns above cover it.
    both = {secret for written in found for secret in (written, unquote(written))}
    return {secret for secret in both if len(secret) > 3}

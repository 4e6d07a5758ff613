from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd.secrets import is_secret, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://***@host/db"),
        ("postgresql+psycopg://ann:s@c/r:et@host:5/db", "postgresql+psycopg://***@host:5/db"),
        ("(see 'mysql://u:p@h/d') again", "(see 'mysql://***@h/d') again"),
        ("postgresql://h/db?user=u&password=hush&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("connect host=h Password = hush user=u", "connect host=h Password = *** user=u"),
        ("sqlite:///.rolekd/optuna.db", "sqlite:///.rolekd/optuna.db"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("http://key:secret@127.0.0.1:9000", "http://***@127.0.0.1:9000"),
        ("sigma=1 sig=ab", "sigma=1 sig=***"),
        ("mail ann@host or bob:x", "mail ann@host or bob:x"),
        ("https://token@host/db", "https://***@host/db"),
    ],
)
def test_redact(text, shown):
    assert redact(text) == shown


@given(st.text(min_size=4, max_size=20).filter(lambda text: text.strip("*") == text))
def test_the_password_of_a_given_address_is_nowhere(password):
    escaped = quote(password, safe="")
    address = f"postgresql://user:{escaped}@host/db"
    shown = redact(f"{address} failed for [{password}] and [{escaped}]", address)
    assert password not in shown.replace("postgresql://user:", "").replace("failed for", "")
    assert f"[{escaped}]" not in shown


@pytest.mark.parametrize(
    ("key", "secret"),
    [("search.password", True), ("MLFLOW_TRACKING_TOKEN", True), ("tokens_per_batch", False)],
)
def test_names_of_secrets(key, secret):
    assert is_secret(key) is secret

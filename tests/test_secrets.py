from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekd import secrets
from rolekd.secrets import blanked, is_secret, redact


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
        ("postgresql://u:a'b@host/db", "postgresql://***@host/db"),
        ("track.uri: ann:hush@host/db is", "track.uri: ***@host/db is"),
        ("--uri=ann:p/w@[::1]/db (:hush@host)", "--uri=***@[::1]/db (***@host)"),
        ("models:/rolekd-digits-student@champion", "models:/rolekd-digits-student@champion"),
        ("distill@kd: seed 0 of 2", "distill@kd: seed 0 of 2"),
        ("{'password': 'hu sh', 'a': 1}", "{'password': ***, 'a': 1}"),
        (r"{\"api_key\": \"hush\"}", r"{\"api_key\": ***}"),
        ("user=u password='hu sh' host=h", "user=u password=*** host=h"),
        (
            "X-Amz-Signature=ab&X-Amz-Credential=AK/2&z=1",
            "X-Amz-Signature=***&X-Amz-Credential=***&z=1",
        ),
        ("https://h/x?key=abc&y=1", "https://h/x?key=***&y=1"),
        ("AccountKey=abc==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic YTpi'}", "{'Authorization': 'Basic ***'}"),
        ("token: unexpected; secret: remove it", "token: unexpected; secret: remove it"),
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


WAYS = (
    "{scheme}ann:{password}@host:5432/db",
    "{scheme}host/db?user=ann&password={password}",
    "host=h user=ann password={password}",
    "{scheme}{password}@host/db",
)


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=8, max_size=20),
    st.sampled_from(WAYS),
    st.sampled_from(["https://", "postgresql+psycopg://", ""]),
)
def test_no_way_of_writing_a_secret_survives(password, way, scheme):
    escaped = quote(password, safe="")
    if scheme or ":{password}" in way or "=" in way:  # else nothing tells it from a name
        address = way.format(scheme=scheme, password=escaped)
        shown = redact(f"cannot reach {address}, see {address}")
        assert escaped not in shown
        assert shown.startswith("cannot reach ")


def test_what_is_remembered_is_blanked_wherever_it_stands(monkeypatch):
    monkeypatch.setattr(secrets, "_remembered", set())
    secrets.remember("postgresql://ann:a b'c/d@e@host/db", None)
    secrets.remember_process(
        {"MLFLOW_TRACKING_TOKEN": "token-of-mlflow", "HF_TOKEN": "true", "URL": "x://u:from-url@h"},
        ["worker", "--storage=ann:from-argument@h/db"],
    )
    text = "[a b'c/d@e] [token-of-mlflow] [from-url] [from-argument] [true]"
    assert redact(text) == "[***] [***] [***] [***] [true]"


def test_values_are_blanked_at_any_depth():
    value = {"a": ["x://u:hush@h", 1, None], "password": 7, "token": None, "b": {"api_key": ["x"]}}
    shown = {"a": ["x://***@h", 1, None], "password": "***", "token": None, "b": {"api_key": "***"}}
    assert blanked(value) == shown


@pytest.mark.parametrize("piece", ["://", "(:", "password=", "a:", "'", "authorization: "])
def test_a_long_text_takes_no_longer_than_its_length(piece):
    redact(piece * (40_000 // len(piece)) + " a@b")  # pytest's own limit of time is the check

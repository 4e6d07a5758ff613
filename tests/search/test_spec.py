import dataclasses
import json

from rolekd.fleet.jobs import changed_keys, hash_inputs, installed_versions
from rolekd.search.spec import SearchSpec


def test_a_spec_survives_json(make_spec):
    spec = make_spec(seconds=0.5, diverge=[[1, 2]])
    again = SearchSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.fingerprint == spec.fingerprint


def test_whatever_decides_the_result_decides_the_fingerprint(make_spec):
    spec = make_spec()
    others = [
        dataclasses.replace(spec, seed=1),
        dataclasses.replace(spec, role="student"),
        dataclasses.replace(spec, search=spec.search.model_copy(update={"quantile": 0.5})),
        dataclasses.replace(spec, search=spec.search.model_copy(update={"threads_per_worker": 2})),
        dataclasses.replace(spec, training={"bits": 2}),
        dataclasses.replace(spec, inputs={"a": "b"}),
        dataclasses.replace(spec, versions={**spec.versions, "rolekd code": "other"}),
    ]
    assert len({each.fingerprint for each in [spec, *others]}) == len(others) + 1
    assert spec.name == f"teacher-{spec.fingerprint[:12]}"


def test_differences_are_named_by_their_keys():
    there = {"a": 1, "b": {"c": [1, 2], "d": {}}, "e": 1}
    here = {"a": 1, "b": {"c": (1, 3), "d": {}}, "f": None}
    assert changed_keys(there, here) == [
        "b.c: [1, 2] there, [1, 3] here",
        "e: 1 there, absent here",
        "f: absent there, None here",
    ]
    assert changed_keys({"a": (1, [2])}, {"a": [1, [2]]}) == []


def test_versions_name_what_must_agree():
    found = installed_versions()
    assert {"torch", "numpy", "optuna", "python", "rolekd code"} <= set(found)
    assert found["python"].count(".") == 1


def test_inputs_are_hashed_by_their_relative_path(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hash_inputs(tmp_path) == {"b/c": empty}

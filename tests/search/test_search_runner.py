from rolekd.search.runner import run


def test_any_number_of_workers_gives_the_same_result(trainers, inputs, make_spec, digest, tmp_path):
    spec = make_spec(seconds=0.01)
    found = {n: digest(run(spec, inputs, tmp_path / str(n), workers=n)) for n in (1, 2, 3)}
    assert len(set(found.values())) == 1


def test_another_seed_gives_another_result(trainers, inputs, make_spec, digest, tmp_path):
    one = digest(run(make_spec(seed=0), inputs, tmp_path / "0"))
    other = digest(run(make_spec(seed=1), inputs, tmp_path / "1"))
    assert one != other


def test_the_search_learns(trainers, inputs, make_spec, tmp_path):
    found = run(make_spec(population=8, epochs=40), inputs, tmp_path)
    first = max(result.accuracy for result in found.history[0])
    assert found.line[-1].accuracy > 2 * first
    assert found.schedule.epochs == 40
    assert len(found.schedule.segments) > 3

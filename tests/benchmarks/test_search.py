from rich.console import Console

from benchmarks.search import counted, table


def test_the_count_is_that_of_the_papers_settings():
    # 16 members see 4,000 images in each of 200 epochs; a pass back costs two passes forward.
    # The authors validate 46,000 images 200 times, we 67 times.
    found = counted()
    training = 16 * 200 * 4_000
    assert found["teacher"]["authors"] == 3 * training + 16 * 200 * 46_000 == 185_600_000
    assert found["teacher"]["ours"] == 3 * training + 16 * 67 * 46_000
    assert found["student"]["authors"] == found["teacher"]["authors"] + training
    assert found["teacher"]["authors_over_ours"] == 2.12
    assert found["student"]["authors_over_ours"] == 1.97


def test_the_table_shows_every_search():
    row = {
        "slots": 8,
        "seconds": 4.0,
        "startup_seconds": 0.5,
        "share_busy": 0.876,
        "overhead_ms_per_slot": 21.4,
    }
    result = {"digits, 1 worker": row, "two_workers_over_one": 0.57, "counted": counted()}
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(table(result))
    shown = " ".join(capture.get().split())
    for text in (
        "digits, 1 worker",
        "87.6%",
        "0.5 s",
        "21 ms",
        "0.57 of the time",
        "2.12 times ours",
    ):
        assert text in shown

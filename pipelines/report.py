"""Stage report: tables and figures of the run as one HTML page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pipelines.stage import DATA, OUTPUTS, Stage, open_stage
from rolekd.cli import run
from rolekd.train.arms import ARMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rolekd.augment.schedule import Schedule
    from rolekd.data.dataset import Dataset

_SHEET_IMAGES = 10
_EXPORTED = "kd-rolewise"


@click.command()
def main() -> None:
    """Write the page that opens without a network."""
    with open_stage("report") as stage:
        from rolekd import files
        from rolekd.augment import schedule as schedules
        from rolekd.data import dataset as datasets
        from rolekd.report import histories, page, plots
        from rolekd.report.datafiles import load_predictions
        from rolekd.report.tables import summarise
        from rolekd.track import provenance

        dataset = datasets.load(DATA)
        logits, labels = load_predictions(OUTPUTS / "evaluate" / "predictions.npz")
        images, _ = dataset.split("test")
        found = {
            role: schedules.load(OUTPUTS / f"search_{role}" / "schedule.json")
            for role in ("teacher", "student")
        }
        searches = {
            role: histories.read_search(OUTPUTS / f"search_{role}" / "history.csv")
            for role in found
        }
        curves = {
            "teacher": histories.read_rows(OUTPUTS / "train_teacher" / "epochs.csv"),
            **{arm: histories.read_rows(OUTPUTS / "distill" / arm / "epochs.csv") for arm in ARMS},
        }
        verification = files.read_json(OUTPUTS / "export" / "verification.json")
        about = provenance.collect()
        mistakes = plots.mistakes_figure(images, labels, logits[_EXPORTED][0], dataset.classes)
        content = page.Content(
            dataset=dataset.name,
            evaluation=summarise(logits, labels, dataset.classes),
            schedules=found,
            searches=searches,
            curves=curves,
            sheet=_sheet(stage, dataset, found),
            mistakes=mistakes,
            model={k: v for k, v in verification.items() if not isinstance(v, dict | list)},
            provenance={
                "data": {"name": dataset.name, "digest": dataset.digest},
                "code": {"commit": about.commit, "uncommitted changes": about.dirty},
                "versions": about.versions,
                "machine": about.machine,
            },
            params=stage.params.model_dump(mode="json"),
        )
        files.write_text(stage.folder / "index.html", page.build(content))
        stage.run.log_artifact(stage.folder / "index.html")
        stage.finish({})
        click.echo(f"{stage.folder / 'index.html'}: open it in a browser")


def _sheet(stage: Stage, dataset: "Dataset", found: Mapping[str, "Schedule"]) -> "Figure":
    """Draw samples under the policies with which the trainings end, and the hand-made ones."""
    from rolekd.augment.handmade import RandAugment, TrivialAugment
    from rolekd.report.sheets import policy_sheet
    from rolekd.report.style import style
    from rolekd.train.augmentation import make_engine

    samples = dataset.split("search_train")[0][:_SHEET_IMAGES]
    policies = {
        "base": None,
        **{f"{role}'s last policy": s.policy_at(s.epochs - 1) for role, s in found.items()},
        "RandAugment": RandAugment(),
        "TrivialAugment": TrivialAugment(scaled=True),
    }
    with style():
        return policy_sheet(samples, policies, make_engine(stage.params.augment, dataset, 1), 0)


if __name__ == "__main__":
    run(main, "report")

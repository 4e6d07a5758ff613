"""Stage evaluate: every network once on the test images; nothing is selected by what it says."""

import click

from pipelines.stage import DATA, OUTPUTS, open_stage
from rolekd.cli import run
from rolekd.train.arms import ARMS


@click.command()
def main() -> None:
    """Compare the arms on the test images."""
    with open_stage("evaluate") as stage:
        import numpy as np
        import torch

        from rolekd.data import dataset as datasets
        from rolekd.data.batches import Normalize
        from rolekd.report.datafiles import save_predictions, write_tables
        from rolekd.report.tables import summarise
        from rolekd.train import devices, roles
        from rolekd.train.evaluate import accuracy, predict, predict_integers

        torch.set_num_threads(stage.params.threads)
        dataset = datasets.load(DATA)
        images, labels = dataset.split("test")
        teacher, _ = roles.load(OUTPUTS / "train_teacher" / "weights.safetensors", dataset)
        device = devices.resolve(stage.params.device)
        normalize = Normalize(dataset, device)
        teacher_accuracy = accuracy(predict(teacher.to(device), images, normalize), labels)
        logits = {}
        for arm in ARMS:
            weights = OUTPUTS / "distill" / arm / "weights"
            students = [
                roles.load(weights / f"seed-{number}.safetensors", dataset)[0]
                for number in range(stage.params.distill.seeds)
            ]
            logits[arm] = np.stack([predict_integers(s, images, dataset) for s in students])
        evaluation = summarise(logits, labels, dataset.classes)
        stage.log_split(dataset, "test")
        write_tables(evaluation, stage.folder)
        save_predictions(stage.folder / "predictions.npz", logits, labels)
        # a run for each arm: MLflow's comparison shows them side by side, by name
        for arm, metrics in evaluation.metrics().items():
            with stage.run.child(f"test@{arm}", {"arm": arm, "split": "test"}) as child:
                child.log_params({"arm": arm})
                child.log_metrics(metrics)
        for name in ("arms.json", "per_class.csv", "confusion.csv", "calibration.csv"):
            stage.run.log_artifact(stage.folder / name)
        stage.finish({"teacher_accuracy": teacher_accuracy, "arms": evaluation.metrics()})


if __name__ == "__main__":
    run(main, "evaluate")

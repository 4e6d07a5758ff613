"""Stage augmentations: a file for each arm, so that an arm is stale only if its own changes."""

from rolekd import params
from rolekd.augment import named
from rolekd.files import clear_unfinished, replacing_folder
from rolekd.outputs import Outputs


def augmentations(outputs: Outputs) -> None:
    """Write what augments the images of each arm."""
    arms = params.load().compare.arms
    clear_unfinished(outputs.stage("augmentations"))  # of a killed process
    with replacing_folder(outputs.stage("augmentations")) as folder:
        for name, arm in arms.items():
            found = named.resolve(arm.augmentation, outputs.schedule)
            found.save(folder / outputs.augmentation(name).name)

import subprocess
import sys

_CODE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"PIL", "pydantic", "sklearn", "numba", "scipy", "safetensors",
                                  "yaml", "rich", "torchvision", "mlflow", "click"}:
            raise ModuleNotFoundError(f"no module {name}")

sys.meta_path.insert(0, Refuse())
import rolekd.data.batches
import rolekd.sources.download
import rolekd.sources.prepare
from types import SimpleNamespace
from pathlib import Path
params = SimpleNamespace(source="cifar10", path=Path(sys.argv[1]), name="cifar10", image_size=None,
    on_error="fail", balance="none", test_fraction=0.2, training_images=None, validation="search",
    search_validation_fraction=0.5)
print(len(rolekd.sources.prepare.prepare(params, 0).labels))
"""


def test_a_machine_with_torch_and_numpy_alone_prepares_cifar(tmp_path):
    import data_files

    data_files.cifar(tmp_path, "cifar10", pickled=True)
    command = [sys.executable, "-c", _CODE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "360\n", done.stderr

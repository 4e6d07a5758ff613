"""Keys of params.yaml with which a whole run of digits takes seconds."""

SMALL = {
    "data.training_images": 120,
    "teacher.model.width": 4,
    "student.model.width": 4,
    "teacher.training.epochs": 2,
    "student.training.epochs": 2,
    "search.algorithm": "ladder",
    "search.ladder": ["all-2"],
    "search.confirm.rungs": [[3, 2]],
}

"""What this room tells the user about: the one warning class of training."""


class TrainingWarning(UserWarning):
    """Something around a training did not work as meant; the training itself goes on."""

"""How a training function is stopped before its deadline."""


class TrialInterrupted(BaseException):
    """The trial stopped at an epoch's end because the next epoch would end after the deadline.

    No failure: what it has done is backed up, and the next run of the search goes on from there.
    Like KeyboardInterrupt it is not an `Exception`, so that neither the `except Exception` of a
    model function nor hyperopt's `catch_eval_exceptions` mistakes it for one.
    """

    def __init__(self, *, tid: int, fit: int, epoch: int, stored: bool) -> None:
        self.tid = tid
        self.fit = fit
        """Which `fit` call of the trial was running, from 0."""
        self.epoch = epoch
        """How many of its epochs are done."""
        self.stored = stored
        """Whether the backup of exactly this epoch lies in the store; else an older one may."""
        where = "backed up" if stored else "but the store did not take its newest backup in time"
        super().__init__(f"trial {tid} stopped before the deadline after epoch {epoch}, {where}")

"""The exception that stops a training function, for the next run to go on with its trial."""


class TrialInterrupted(BaseException):
    """The trial stopped before its end, and the next run of the search goes on with it.

    The next epoch would end after the deadline, and what was done is backed up; or the backup with
    which it began cannot be used (then `epoch` is 0).
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
        super().__init__(f"trial {tid} stopped after epoch {epoch}, {where}")

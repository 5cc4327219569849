"""Scheduled reruns: run the notebook of a search again while the search is unfinished.

`exit_code` maps the status of a search to an exit code, `rerunner` runs the notebook once or until
the search is finished, `lock` prevents simultaneous reruns on two machines, and `runs` is the log
of runs. `runners` and `enterprise` run the notebook; `schedulers` start it at intervals.
"""

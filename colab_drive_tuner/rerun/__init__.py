"""Scheduled reruns: run the notebook of a search again while the search is unfinished.

`rerunner` runs the notebook once or until the search is finished, with a lock that prevents
simultaneous reruns on two machines; `runs` has exit codes and the log of runs. `runners` and
`enterprise` run the notebook; `schedulers` start it at intervals.
"""

"""Scheduled reruns: where a search is unfinished, its notebook is run once more.

`outcome` has the verdict on a search, `rerunner` runs its notebook once or until it is finished,
`lock` keeps two machines from doing so at once, and `runs` is the log. `runners` and `enterprise`
are where it can run; `schedulers` have it done every so often.
"""

"""Schedulers: cron, systemd and GitHub Actions, each given the same plan."""

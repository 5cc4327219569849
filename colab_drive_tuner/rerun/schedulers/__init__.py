"""Schedulers: cron, systemd and GitHub Actions, each of which installs the same plan."""

"""Results of a search: status, trials, tables, charts, reports, export and import."""

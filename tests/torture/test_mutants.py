"""Each mutant is caught by a check, and the unmodified build passes the same checks."""

from pathlib import Path

import pytest

from tests.torture.checks import CHECKS
from tests.torture.harness import SERVER
from tests.torture.mutants import MUTANTS
from tests.torture.run_check import CAUGHT, run_check

CAUGHT_BY = {
    "seed_from_the_clock_on_resume": "resumed_equals_plain",
    "seed_restarts_on_resume": "resumed_equals_plain",
    "a_409_is_success": "a_takeover_is_noticed",
    "a_409_is_a_conflict": "a_lost_answer_is_no_conflict",
    "the_owner_is_compared_instead_of_the_sha": "a_clones_record_is_a_conflict",
    "no_nonce": "equal_content_of_a_clone_is_a_conflict",
    "a_fresh_nonce_for_each_retry": "a_lost_answer_is_no_conflict",
    "two_records_in_flight": "one_record_is_in_flight",
    "acknowledged_before_the_answer": "nothing_is_acknowledged_without_an_answer",
    "a_gap_is_skipped": "a_gap_is_never_skipped",
    "checksums_are_not_checked": "an_altered_record_is_never_read",
    "the_spool_is_dropped": "pending_ends_survive_a_kill",
    "ends_are_not_spooled_before_sending": "pending_ends_survive_a_kill",
    "the_spool_is_removed_before_the_answer": "pending_ends_survive_a_kill",
    "a_spooled_end_is_not_flushed": "spooled_ends_survive_a_power_cut",
    "a_spool_file_has_no_lasting_name": "spooled_ends_survive_a_power_cut",
    "a_spool_has_no_lasting_folder": "spooled_ends_survive_a_power_cut",
    "unspooled_items_are_left_out": "a_spool_has_no_gaps",
    "spool_files_are_ordered_by_name": "spooled_items_keep_their_order",
    "gaps_are_not_reported": "spooled_items_keep_their_order",
    "missing_trials_are_left_out": "a_gap_in_the_spool_is_filled",
    "missing_trials_are_suggested_from_all_trials": "a_gap_in_the_spool_is_filled",
    "missing_trials_are_put_at_the_end": "a_gap_in_the_spool_is_filled",
    "a_copy_is_a_duplicate": "a_search_outlives_its_copies",
    "a_moved_search_is_begun_anew": "a_search_in_the_trash_is_an_error",
    "a_give_up_counts_as_an_end_for_the_spool": "a_real_end_supersedes_a_give_up",
    "spooled_ends_are_all_appended": "a_trial_ends_once",
    "a_snapshot_holds_what_is_not_acknowledged": "snapshots_hold_acknowledged_records",
    "the_lease_overrules_the_chain": "a_takeover_is_noticed",
    "no_more_ids_are_named": "ids_never_run_out",
    "claims_do_not_name_what_they_inherit": "a_batch_is_inherited_whole",
    "deaths_are_not_counted": "a_poison_trial_is_given_up",
    "no_acknowledged_start_after_a_death": "a_poison_trial_is_given_up",
    "a_clean_end_counts_as_a_death": "a_stop_is_no_death",
    "a_fork_may_write": "a_fork_may_not_write",
    "a_snapshot_forgets_its_epoch": "spooled_items_belong_to_a_snapshots_history",
    "a_snapshot_forgets_who_claimed": "a_snapshot_tells_who_holds_a_search",
    "any_snapshot_counts_as_of_this_chain": "no_snapshot_leads_into_another_chain",
    "nothing_is_read_beyond_a_gap": "gaps_are_seen_between_batches_of_reads",
    "too_little_is_read_beyond_a_gap": "gaps_are_seen_between_batches_of_reads",
    "file_ownership_is_not_checked": "a_property_never_leads_outside",
    "a_broken_pool_blames_every_trial": "only_a_trial_that_dies_alone_is_given_up",
    "suspects_run_beside_others": "only_a_trial_that_dies_alone_is_given_up",
    "deaths_of_workers_are_not_counted": "only_a_trial_that_dies_alone_is_given_up",
    "pending_trials_are_not_recorded": "points_follow_from_the_record",
    "starts_are_not_recorded": "a_dead_driver_costs_its_trials_one_attempt",
    "replayed_starts_count_as_own": "a_start_that_only_a_spool_names_costs_an_attempt",
    "starts_are_recorded_after_their_submission": "a_dead_driver_costs_its_trials_one_attempt",
    "ends_are_recorded_in_the_order_of_their_numbers": "an_end_is_recorded_when_it_comes",
    "an_end_that_comes_while_stopping_is_dropped": "ends_during_a_stop_are_recorded",
    "suspects_run_twice": "the_packages_own_pool_finds_the_poison_trial",
    "suspects_are_forgotten_between_sessions": "only_a_trial_that_dies_alone_is_given_up",
    "a_cancelled_trial_is_guilty": "a_lost_cluster_costs_no_attempt",
    "workers_that_die_together_are_all_guilty": "a_lost_cluster_costs_no_attempt",
    "missing_trials_do_not_wait": "a_missing_trial_waits_for_those_before_it",
}


def status_of(mutant: str | None, check: str, folder: Path) -> tuple[int | None, str]:
    """Return the exit status of the check in its own process, None if it hangs, and its output."""
    process = SERVER.Process(target=run_check, args=(mutant, check, str(folder)), daemon=True)
    process.start()
    process.join(600)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    return status, (folder / "output").read_text()


@pytest.mark.parametrize("check", CHECKS)
def test_the_unmodified_build_passes(check: str, tmp_path: Path) -> None:
    """The unmodified build passes: otherwise a mutant's failure would prove nothing."""
    status, output = status_of(None, check, tmp_path)
    assert status == 0, output


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(mutant: str, tmp_path: Path) -> None:
    """A mutant fails the check of the rule that it breaks."""
    status, output = status_of(mutant, CAUGHT_BY[mutant], tmp_path)
    assert status == CAUGHT, output

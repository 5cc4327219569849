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
    "a_409_is_success": "a_rival_is_noticed",
    "a_409_is_a_rival": "a_lost_answer_is_no_rival",
    "the_owner_is_compared_instead_of_the_sha": "a_clone_is_a_rival",
    "no_nonce": "a_clone_that_writes_the_same_is_a_rival",
    "a_fresh_nonce_for_each_retry": "a_lost_answer_is_no_rival",
    "two_records_in_flight": "one_record_is_in_flight",
    "acknowledged_before_the_answer": "nothing_is_acknowledged_without_an_answer",
    "a_gap_is_bridged": "a_gap_is_never_bridged",
    "checksums_are_not_checked": "an_altered_record_is_never_read",
    "the_spool_is_dropped": "what_was_pending_survives_a_kill",
    "ends_are_not_spooled_before_sending": "what_was_pending_survives_a_kill",
    "the_spool_is_removed_before_the_answer": "what_was_pending_survives_a_kill",
    "a_spooled_end_is_not_flushed": "what_was_spooled_survives_a_power_cut",
    "a_spool_file_has_no_lasting_name": "what_was_spooled_survives_a_power_cut",
    "a_spool_has_no_lasting_folder": "what_was_spooled_survives_a_power_cut",
    "what_the_disk_did_not_take_is_left_out": "a_spool_has_no_holes",
    "spool_files_go_by_their_names": "spooled_items_keep_their_order",
    "gaps_are_not_told": "spooled_items_keep_their_order",
    "what_is_missing_is_left_out": "a_hole_in_the_spool_is_filled",
    "what_is_missing_is_suggested_from_everything": "a_hole_in_the_spool_is_filled",
    "what_is_missing_is_put_at_the_end": "a_hole_in_the_spool_is_filled",
    "a_copy_is_a_rival": "a_search_outlives_its_copies",
    "a_moved_search_is_begun_anew": "a_search_in_the_trash_is_missed",
    "a_give_up_counts_as_an_end_for_the_spool": "a_real_end_supersedes_a_give_up",
    "spooled_ends_are_all_appended": "a_trial_ends_once",
    "a_snapshot_holds_what_is_not_acknowledged": "snapshots_hold_acknowledged_records",
    "the_lease_is_believed_over_the_chain": "a_rival_is_noticed",
    "no_more_ids_are_named": "ids_never_run_out",
    "claims_do_not_name_what_they_inherit": "a_batch_is_inherited_whole",
    "deaths_are_not_counted": "a_poison_trial_is_given_up",
    "no_care_after_a_death": "a_poison_trial_is_given_up",
    "a_clean_end_counts_as_a_death": "a_stop_is_no_death",
    "a_fork_may_write": "a_fork_may_not_write",
    "a_snapshot_forgets_its_epoch": "what_was_pending_is_of_the_history_of_a_snapshot",
    "a_snapshot_forgets_who_claimed": "who_holds_a_search_is_known_from_its_snapshot",
    "a_snapshot_is_believed_to_be_of_this_chain": "no_snapshot_leads_into_another_chain",
    "nothing_is_looked_for_behind_a_gap": "gaps_are_seen_where_a_reader_pauses",
    "less_is_looked_for_behind_a_gap": "gaps_are_seen_where_a_reader_pauses",
    "whose_file_an_id_names_is_not_asked": "a_property_never_leads_outside",
    "a_broken_pool_blames_everybody": "only_what_dies_alone_is_given_up",
    "suspects_run_beside_others": "only_what_dies_alone_is_given_up",
    "deaths_of_workers_are_not_counted": "only_what_dies_alone_is_given_up",
    "what_was_pending_is_not_recorded": "points_follow_from_the_record",
    "the_start_is_forgotten": "a_dead_driver_costs_its_trials_one_attempt",
    "what_only_a_spool_names_is_not_run": "a_dead_driver_costs_its_trials_one_attempt",
    "starts_are_recorded_after_their_submission": "a_dead_driver_costs_its_trials_one_attempt",
    "ends_are_recorded_in_the_order_of_their_numbers": "an_end_is_recorded_when_it_comes",
    "an_end_that_comes_while_stopping_is_dropped": "what_ends_during_a_stop_is_recorded",
    "suspects_run_twice": "our_own_pool_finds_the_guilty_one",
    "suspects_are_forgotten_between_sessions": "only_what_dies_alone_is_given_up",
    "a_cancelled_trial_is_guilty": "a_cluster_that_goes_costs_no_attempt",
    "workers_that_die_together_are_all_guilty": "a_cluster_that_goes_costs_no_attempt",
    "missing_trials_do_not_wait": "a_missing_trial_waits_for_those_before_it",
}


def status_of(mutant: str | None, check: str, folder: Path) -> tuple[int | None, str]:
    """The exit status of the check in a process of its own, None if it hangs; what it said."""
    process = SERVER.Process(target=run_check, args=(mutant, check, str(folder)), daemon=True)
    process.start()
    process.join(200)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    return status, (folder / "said").read_text()


@pytest.mark.parametrize("check", CHECKS)
def test_the_build_as_it_is_passes(check: str, tmp_path: Path) -> None:
    """Otherwise it would prove nothing that a mutant fails."""
    status, said = status_of(None, check, tmp_path)
    assert status == 0, said


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(mutant: str, tmp_path: Path) -> None:
    """By the check of the rule that it breaks."""
    status, said = status_of(mutant, CAUGHT_BY[mutant], tmp_path)
    assert status == CAUGHT, said

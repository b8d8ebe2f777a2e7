//! Every scenario on process sandboxes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process_only;
mod scenarios;

both_rigs!(process);

scenarios! { process, in process_only,
    archives:
        archives_of_docker_and_of_oci_run,
        an_archive_of_an_old_docker_runs_and_is_read_again_when_it_changes,
        an_archive_that_is_not_what_it_says_makes_no_session;
    cli:
        run_gives_output_and_code_of_the_command,
        run_does_not_wait_for_a_grandchild,
        run_of_a_killed_shell_is_137,
        run_of_what_is_not_there_says_so,
        run_hands_stdin_on_and_leaves_nothing;
    daemon:
        a_daemon_that_is_to_leave_its_sandboxes_leaves_them_to_the_next,
        a_second_daemon_on_one_data_directory_is_refused_and_told_why;
    disks:
        a_process_sandbox_has_no_disk_and_says_so;
    liars:
        offsets_that_jump_are_an_error,
        offsets_that_go_back_are_an_error,
        a_log_that_is_final_elsewhere_is_an_error,
        a_frame_over_the_cap_is_an_error,
        bytes_that_are_no_frame_are_an_error,
        a_second_exit_is_told_once,
        silence_is_no_exit_and_stalls_nobody_else,
        a_link_that_always_breaks_costs_no_spinning,
        an_agent_that_is_not_there_is_an_error_with_a_deadline;
    registry:
        an_image_runs_by_tag_by_digest_and_by_an_index_of_platforms,
        a_pull_policy_says_when_the_registry_is_asked,
        a_wrong_password_is_refused_and_the_right_one_lets_in,
        a_mirror_stands_in_for_its_registry,
        a_registry_killed_in_mid_blob_is_resumed,
        a_broker_killed_in_mid_pull_goes_on_where_it_was,
        a_full_disk_ends_the_pull_and_the_next_one_works,
        a_pull_tells_how_far_each_layer_is,
        images_on_the_command_line;
    resume:
        a_sandbox_leaves_the_hosts_clock_alone;
    lost:
        commands_that_died_while_no_broker_was_there_are_lost,
        a_retry_after_broker_and_serve_died_starts_nothing;
    shared:
        an_image_is_unpacked_once_and_changes_are_ones_own,
        a_shared_root_is_like_ones_own,
        many_at_once_wait_for_one_unpacking,
        a_root_in_use_is_not_pruned_not_even_by_the_next_broker,
        a_bad_layer_leaves_nothing_and_harms_no_other_image,
        a_broker_killed_while_it_unpacks_leaves_nothing,
        a_disk_that_is_full_is_no_reason_to_have_no_session;
    stall:
        a_reader_that_stalls_costs_bounded_memory_and_no_byte,
        a_reader_whose_leaving_its_stream_does_not_tell_is_not_waited_for,
        a_reader_of_a_killed_broker_is_succeeded_though_its_stream_does_not_end;
    survival:
        commands_of_a_dead_serve_are_lost_and_never_exit_zero,
        a_retry_after_serve_died_starts_nothing,
        a_retry_before_serve_is_back_starts_nothing,
        an_entrypoint_of_a_dead_serve_is_lost_and_not_started_again,
        serve_may_die_again_and_again,
        a_stopped_serve_delays_and_loses_nothing,
        a_killed_sandbox_fails_its_session_alone,
        a_broker_that_ends_takes_its_sandboxes_along,
        two_brokers_do_not_disturb_each_other;
    walk:
        without_cgroups_a_kill_of_the_tree_reaches_who_left,
        without_cgroups_a_term_of_the_tree_reaches_each_process_once,
        without_cgroups_a_timeout_ends_every_descendant;
}

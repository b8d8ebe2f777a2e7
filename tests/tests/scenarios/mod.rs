//! Scenarios that run on both rigs. Each is a function of the rig; the macros
//! make tests of them.

pub(crate) mod basics;
pub(crate) mod crowd;
pub(crate) mod ending;
pub(crate) mod ends;
pub(crate) mod errors;
pub(crate) mod failed_starts;
pub(crate) mod faults;
pub(crate) mod files;
pub(crate) mod held_open;
pub(crate) mod hostile;
pub(crate) mod image;
pub(crate) mod image_config;
pub(crate) mod kill;
pub(crate) mod limits;
pub(crate) mod lossless;
pub(crate) mod many;
pub(crate) mod output;
pub(crate) mod pty;
pub(crate) mod restart;
pub(crate) mod self_test;
pub(crate) mod setup;
pub(crate) mod shell;
pub(crate) mod stdin;
pub(crate) mod stdin_flow;
pub(crate) mod stdin_stream;
pub(crate) mod terminal;
pub(crate) mod timeouts;
pub(crate) mod wait;
pub(crate) mod workload;

/// `module: function, function;` for each, on a rig by the name of its function.
#[macro_export]
macro_rules! scenarios {
    ($rig:ident, in $place:ident, $($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                $crate::$place::$module::$name(postern_tests::Rig::$rig());
            })+
        })+
    };
}

/// Everything that runs on both.
#[macro_export]
macro_rules! both_rigs {
    ($rig:ident) => {
        $crate::scenarios! { $rig, in scenarios,
            basics:
                a_session_boots_and_runs_a_command,
                every_exit_code_arrives,
                a_death_by_signal_is_told_from_a_code,
                argv_reaches_the_program_untouched,
                the_environment_is_image_then_session_then_command,
                a_command_runs_where_and_as_whom_it_is_asked,
                a_child_has_only_its_three_descriptors,
                a_child_starts_with_clean_signals_and_limits;
            crowd:
                five_hundred_commands_with_eight_followers_each,
                a_command_gets_no_more_descriptors_than_the_agent_was_given,
                a_user_that_stops_everybody_all_the_time_harms_only_itself,
                daemons_that_left_everything_die_with_the_tree,
                daemons_that_left_everything_die_at_the_timeout,
                an_exit_does_not_wait_for_daemons;
            ending:
                a_deleted_session_ends_in_order_and_leaves_nothing,
                a_forced_end_leaves_no_grace,
                a_session_ends_when_its_time_is_over;
            ends:
                an_exit_is_told_though_a_grandchild_never_stops_writing,
                a_timeout_ends_every_descendant,
                a_timeout_ends_a_stopped_command,
                what_outlives_the_first_process_has_the_grace_too,
                a_core_dump_is_told;
            errors:
                what_is_not_there_is_not_found,
                a_missing_image_is_named,
                a_body_that_is_wrong_names_its_field,
                a_body_over_its_limit_is_refused_and_the_next_request_is_served,
                the_request_id_is_the_callers_or_new,
                web_pages_do_not_get_in,
                requests_that_are_no_http_do_no_harm;
            failed_starts:
                a_start_that_fails_says_stage_and_errno,
                a_failed_start_is_listed_as_failed,
                a_nul_is_refused_with_the_field_that_holds_it,
                what_the_kernel_does_not_take_is_refused;
            faults:
                tagged_output_and_stdin_exactly_once;
            files:
                files_go_in_and_out_unchanged,
                a_range_of_a_file,
                mode_and_owner_are_as_asked_and_kept,
                an_upload_that_breaks_off_changes_nothing,
                what_is_no_plain_file_is_refused,
                a_full_disk_is_said_to_be_full,
                a_large_file_is_streamed;
            held_open:
                an_exit_does_not_wait_for_a_held_pipe,
                the_exit_event_comes_once_and_late_output_is_read_afterwards;
            hostile:
                frames_that_are_none_end_their_connection_alone,
                a_hello_cut_at_every_byte_does_no_harm,
                silent_peers_are_shown_out_and_take_nobodys_place,
                what_is_not_known_is_answered_with_an_error,
                a_second_host_does_not_take_the_control_connection,
                a_reader_that_vanishes_leaves_the_command_alone,
                a_raw_reader_sees_the_same_offsets;
            image:
                an_image_that_is_not_one_of_the_samples_runs,
                a_layer_that_is_not_what_it_says_makes_no_session,
                hostile_images_make_no_session_and_leave_none,
                a_sandbox_killed_while_it_unpacks_leaves_nothing_and_the_next_one_works;
            image_config:
                an_entrypoint_is_the_first_command,
                an_entrypoint_that_cannot_start_makes_no_session,
                an_entrypoint_is_stopped_by_its_images_signal,
                an_entrypoint_that_does_not_stop_is_killed_after_ten_seconds,
                what_an_image_says_of_itself_is_shown,
                a_working_dir_that_is_none_makes_no_session,
                a_user_starts_in_a_working_dir_that_only_root_may_enter,
                a_cwd_that_is_a_link_of_procfs_is_refused,
                setuid_bits_of_an_image_count_unless_the_session_says_no;
            kill:
                a_signal_to_the_process_is_for_the_process_alone,
                a_signal_to_the_group_reaches_its_members,
                a_kill_of_the_tree_reaches_who_left_the_group,
                a_term_of_the_tree_reaches_each_process_once,
                a_kill_after_the_exit_is_no_error,
                an_unknown_signal_or_scope_is_refused;
            limits:
                a_limit_is_kept_or_refused_by_name,
                what_a_command_used_is_told;
            lossless:
                a_stream_of_events_is_byte_exact_and_memory_stays_flat,
                raw_output_is_byte_exact_and_memory_stays_flat,
                a_stream_cut_fifty_times_and_resumed_is_byte_exact,
                a_reader_that_begins_further_on_wakes_the_command,
                two_lossless_readers_both_get_everything;
            many:
                two_hundred_commands_at_once,
                thousands_of_commands_one_after_another,
                orphans_are_reaped,
                a_stream_of_a_silent_command_is_cheap_and_alive;
            output:
                output_is_read_from_any_offset,
                an_offset_that_is_none_is_refused,
                dropped_output_is_a_named_gap,
                a_filtered_reader_counts_its_own_stream,
                bytes_that_are_no_text_arrive_exactly,
                a_quick_death_loses_no_byte,
                foreground_output_over_the_cap_is_marked,
                a_flood_that_nobody_reads_stays_within_its_window;
            restart:
                a_killed_broker_loses_no_byte_of_output_or_stdin,
                what_was_there_before_a_restart_is_there_after_it,
                a_retried_exec_runs_once_also_when_the_broker_died,
                commands_whose_callers_died_with_the_broker_are_ended,
                a_sandbox_that_died_while_no_broker_was_there_is_failed,
                a_broker_killed_while_it_makes_a_session_leaves_nothing,
                an_entrypoint_is_started_once_also_when_the_broker_died;
            shell:
                a_shell_on_a_terminal_is_one,
                the_windows_size_is_followed,
                an_editor_draws_and_edits,
                a_detached_shell_goes_on_and_is_come_back_to,
                what_is_shown_again_asks_the_terminal_nothing,
                output_that_ends_in_half_a_sequence_is_shown_whole,
                output_is_shown_once_the_terminal_is_the_commands,
                the_keys_that_detach_are_ones_choice,
                a_signal_leaves_the_terminal_sane_and_hangs_up_the_shell,
                a_terminal_is_not_made_up,
                an_input_that_cannot_be_read_is_told_of,
                flags_reach_the_process,
                a_link_that_breaks_costs_no_byte_either_way;
            self_test:
                a_session_tells_what_it_has_and_what_it_lacks,
                an_image_without_a_shell_has_an_answer_too;
            setup:
                a_process_is_set_up_as_asked,
                capabilities_are_what_the_profile_says,
                what_cannot_be_had_names_its_field,
                a_user_is_asked_for_in_every_form,
                starts_that_fail_at_each_stage_disturb_no_others;
            stdin:
                stdin_is_closed_unless_asked_for,
                a_repeated_write_is_not_applied_twice,
                a_process_that_never_reads_costs_a_bounded_buffer,
                a_program_that_closes_stdin_is_told_of;
            stdin_stream:
                a_large_stdin_arrives_whole_and_memory_stays_flat,
                a_stdin_stream_that_breaks_is_taken_up_where_it_was,
                streams_and_single_writes_are_one_stdin,
                a_stdin_stream_that_does_not_fit_is_an_error,
                a_process_that_takes_no_more_ends_the_stream,
                a_stream_to_a_process_that_never_reads_stalls_nobody;
            terminal:
                a_terminal_has_a_name_a_size_and_a_type,
                a_user_can_open_the_terminal_again,
                a_login_shell_reads_its_name,
                a_start_that_fails_on_a_terminal_says_why,
                ctrl_c_ends_what_is_in_the_foreground,
                ctrl_z_stops_and_fg_goes_on,
                the_end_of_stdin_is_the_end_on_a_terminal,
                a_terminal_that_nobody_reads_from_stalls_nobody,
                a_detached_terminal_goes_on_and_all_see_the_same,
                who_keeps_the_terminal_open_is_told_from_the_exit,
                a_resize_reaches_the_program;
            pty:
                a_person_gets_a_login_shell_on_a_terminal,
                a_new_size_reaches_the_program,
                an_agent_gets_a_shell_that_draws_nothing,
                an_exec_without_a_terminal_tags_its_streams,
                ctrl_c_and_signals_stop_a_loop,
                a_cut_socket_is_replaced_and_no_byte_is_lost_or_doubled,
                a_detached_terminal_goes_on_and_is_replayed,
                several_may_type_and_watch_and_a_slow_one_stalls_only_itself,
                a_flood_past_a_viewer_that_does_not_read_costs_little,
                what_cannot_start_is_an_http_error,
                a_wrong_message_is_answered_and_the_socket_stays,
                an_exec_ends_with_its_socket_and_a_terminal_does_not;
            stdin_flow:
                a_body_of_any_length_goes_to_stdin,
                a_body_that_breaks_off_leaves_stdin_open_and_a_repeat_goes_on,
                a_process_that_does_not_read_stalls_only_its_own_stdin,
                writers_of_one_stdin_do_not_lose_each_others_bytes;
            wait:
                a_wait_ends_with_the_exit_or_with_its_time,
                a_wait_for_the_log_outlasts_the_exit;
            timeouts:
                a_timeout_sends_term_and_keeps_the_output,
                a_timeout_kills_who_ignores_it_and_who_left,
                a_timeout_fires_with_stdin_open_and_nobody_reading,
                an_exit_in_time_is_no_timeout;
            workload:
                a_hostile_root_cannot_end_or_stop_the_agent,
                a_workload_cannot_pull_the_plug,
                a_workload_that_freezes_itself_harms_only_itself,
                a_hostile_root_sees_nothing_of_the_agent,
                a_fork_bomb_is_killed_and_the_agent_answers,
                links_in_the_image_do_not_lead_the_agent_astray;
        }
    };
}

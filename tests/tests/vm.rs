//! Every scenario on QEMU microVMs, with real vsock.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scenarios;
mod vm_only;

both_rigs!(vm);

scenarios! { vm, in vm_only,
    bounds:
        a_fork_bomb_is_contained_and_the_agent_answers,
        a_command_over_its_memory_is_told_as_oom_killed_and_no_other_is,
        a_peak_of_memory_is_the_commands_own;
    disks:
        debian_and_more_than_the_memory_fit_a_root_on_a_disk,
        a_root_on_a_disk_outlives_a_broker_and_ends_whole,
        a_disk_that_is_full_in_mid_layer_is_said_to_be_and_the_next_one_works,
        a_disk_of_a_wrong_size_is_refused_by_name,
        an_image_on_a_disk_is_the_same_image_and_leaves_nothing_there,
        an_image_by_streams_is_the_same_image;
    corpus:
        every_one_ends_as_it_should_on_the_guests_kernel;
    kernel:
        programs_find_the_system_calls_that_they_take_for_granted,
        a_root_inside_finds_no_way_into_our_kernel;
    machine:
        a_root_inside_gets_no_word_from_the_agent,
        a_command_that_eats_the_memory_is_told_of_and_the_agent_lives,
        a_machine_that_never_comes_up_is_replaced_once,
        a_killed_machine_fails_its_session_alone;
    replug:
        a_stream_goes_on_when_the_vsock_device_is_plugged_anew,
        a_vsock_device_that_died_without_a_broker_is_plugged_anew,
        a_vsock_device_that_always_dies_fails_its_session_with_the_reason,
        a_resumed_guest_knows_what_time_it_is;
    resume:
        a_resume_sets_the_clock_and_no_timeout_runs_out;
    screens:
        an_editor_a_monitor_and_a_multiplexer_draw_on_debian;
}

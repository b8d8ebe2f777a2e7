//! Scenarios on microVMs of another architecture: what the agent does by bare
//! system calls and by layouts of the kernel's, once more where both differ.
//!
//! `make test-aarch64` gets what they need and runs them. They are no part of
//! `make test`: the agent is built once more, and every instruction is emulated.

#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "some of what runs on both rigs")]
mod scenarios;
#[allow(dead_code, reason = "some of what runs in a machine")]
mod vm_only;

use postern_tests::Rig;
use serde_json::json;

/// `module: function, function;` for each, where there is such a machine.
macro_rules! on_aarch64 {
    (in $place:ident, $($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                if let Some(rig) = postern_tests::Rig::aarch64(stringify!($name)) {
                    crate::$place::$module::$name(rig);
                }
            })+
        })+
    };
}

#[test]
fn the_guest_is_of_another_architecture() {
    let Some(rig) = Rig::aarch64("the_guest_is_of_another_architecture") else { return };
    let session = rig.shared();
    assert_eq!(session.say("uname -m"), "aarch64");
    // e_machine of an ELF file: 183 is EM_AARCH64.
    assert_eq!(session.say("hexdump -s 18 -n 1 -e '1/1 \"%u\"' /bin/busybox"), "183");
}

#[test]
fn a_process_sandbox_of_another_architecture_is_refused() {
    let Some(rig) = Rig::aarch64("a_process_sandbox_of_another_architecture") else { return };
    let asked = json!({"driver": "process"}).to_string();
    let answer = rig.broker().http.send("POST", "/v1/sessions", &[], asked.as_bytes()).unwrap();
    let error = postern_tests::Answer::of(answer).error(400, "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("aarch64"), "{error}");
}

on_aarch64! { in scenarios,
    basics:
        a_session_boots_and_runs_a_command,
        every_exit_code_arrives,
        a_death_by_signal_is_told_from_a_code,
        argv_reaches_the_program_untouched,
        the_environment_is_image_then_session_then_command,
        a_command_runs_where_and_as_whom_it_is_asked,
        a_child_has_only_its_three_descriptors,
        a_child_starts_with_clean_signals_and_limits;
    ends:
        a_timeout_ends_every_descendant,
        a_core_dump_is_told;
    failed_starts:
        a_start_that_fails_says_stage_and_errno,
        what_the_kernel_does_not_take_is_refused;
    files:
        files_go_in_and_out_unchanged,
        mode_and_owner_are_as_asked_and_kept,
        what_is_no_plain_file_is_refused;
    kill:
        a_signal_to_the_group_reaches_its_members,
        a_kill_of_the_tree_reaches_who_left_the_group;
    limits:
        a_limit_is_kept_or_refused_by_name,
        what_a_command_used_is_told;
    many:
        orphans_are_reaped;
    output:
        bytes_that_are_no_text_arrive_exactly;
    self_test:
        a_session_tells_what_it_has_and_what_it_lacks;
    setup:
        a_process_is_set_up_as_asked,
        capabilities_are_what_the_profile_says,
        what_cannot_be_had_names_its_field,
        a_user_is_asked_for_in_every_form;
    stdin:
        a_repeated_write_is_not_applied_twice,
        a_program_that_closes_stdin_is_told_of;
    terminal:
        a_terminal_has_a_name_a_size_and_a_type,
        a_user_can_open_the_terminal_again,
        ctrl_c_ends_what_is_in_the_foreground,
        the_end_of_stdin_is_the_end_on_a_terminal,
        a_resize_reaches_the_program;
    workload:
        a_hostile_root_cannot_end_or_stop_the_agent,
        a_hostile_root_sees_nothing_of_the_agent;
}

on_aarch64! { in vm_only,
    bounds:
        a_command_over_its_memory_is_told_as_oom_killed_and_no_other_is;
    replug:
        a_stream_goes_on_when_the_vsock_device_is_plugged_anew;
    resume:
        a_resume_sets_the_clock_and_no_timeout_runs_out;
}

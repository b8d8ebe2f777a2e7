//! Programs that own the whole screen, on a real distribution.

use postern_tests::{Rig, tmux};
use serde_json::json;

use crate::scenarios::shell::{INSIDE, edit, leave, terminal};

pub(crate) fn an_editor_a_monitor_and_a_multiplexer_draw_on_debian(rig: &Rig) {
    let test = "screens_on_debian";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({"image": "debian", "memory_mb": 1024}));
    let outer = terminal(rig, test);
    outer.enters(&format!("postern shell {}", session.id));
    // bash's own start-up files choose its prompt; this shell takes ours.
    outer.when("root's prompt", |screen| screen.ends_with('#').then_some(()));
    outer.enters(&format!("exec env PS1='{INSIDE}' sh"));
    outer.prompts(INSIDE);
    edit(&outer, &session);

    outer.enters("htop");
    let last = |screen: &str, text: &str| {
        screen.lines().next_back().is_some_and(|line| line.contains(text)).then_some(())
    };
    outer.when("htop's keys in the last line", |screen| last(screen, "F10Quit"));
    outer.shows("Load average:");
    // It draws anew for the window it is given.
    outer.resize(40, 120);
    outer.when("htop on 40 lines", |screen| {
        (screen.lines().count() == 40 && last(screen, "F10Quit").is_some()).then_some(())
    });
    outer.presses(&["F10"]);
    outer.prompts(INSIDE);

    outer.enters(&format!("tmux -L inner -f /dev/null new-session -e PS1='{INSIDE}' sh"));
    outer.when("a status line", |screen| last(screen, "[0] 0:sh"));
    outer.enters("echo in-$TERM-$(stty size)");
    // One line of forty is the status.
    let inner = outer.line("in-");
    assert!(inner.starts_with("screen") || inner.starts_with("tmux"), "{inner}");
    assert!(inner.ends_with("-39 120"), "{inner}");
    outer.presses(&["C-b", "%"]);
    outer.when("two panes side by side", |screen| {
        screen.lines().take(39).all(|line| line.contains('\u{2502}')).then_some(())
    });
    outer.enters("tmux -L inner kill-server");
    outer.prompts(INSIDE);
    leave(&outer);
    outer.must_be_sane();
}

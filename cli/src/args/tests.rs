use super::*;

fn parse(line: &[&str]) -> Command {
    let words = std::iter::once("postern").chain(line.iter().copied());
    Args::try_parse_from(words).unwrap().command
}

#[test]
fn the_definition_holds_together() {
    use clap::CommandFactory;
    Args::command().debug_assert();
}

#[test]
fn words_for_the_entrypoint_need_one() {
    let line = ["postern", "sessions", "create", "--entrypoint", "nginx", "--", "-g", "x"];
    let Command::Sessions(Sessions { action: Some(SessionsAction::Create { first, .. }), .. }) =
        Args::try_parse_from(line).unwrap().command
    else {
        panic!("another command")
    };
    assert!(first.entrypoint);
    assert_eq!(first.cmd, ["-g", "x"]);
    let without = line.iter().filter(|word| **word != "--entrypoint");
    assert!(Args::try_parse_from(without).is_err());
}

#[test]
fn a_command_keeps_its_own_flags() {
    for line in [
        &["run", "debian", "--", "bash", "-c", "exit 3", "--", "-x"][..],
        &["run", "debian", "bash", "-c", "exit 3", "--", "-x"],
    ] {
        let Command::Run(run) = parse(line) else { panic!("{line:?}") };
        assert_eq!(run.image, "debian");
        assert_eq!(run.argv, ["bash", "-c", "exit 3", "--", "-x"], "{line:?}");
    }
    let Command::Run(run) =
        parse(&["run", "-e", "A=b", "--memory", "512", "-i", "x", "--", "ls", "-e"])
    else {
        panic!("not a run")
    };
    assert_eq!(
        (run.command.process.env, run.session.memory, run.command.interactive),
        (vec!["A=b".to_owned()], Some(512), true)
    );
    assert_eq!(run.argv, ["ls", "-e"]);
}

#[test]
fn a_terminal_and_its_process() {
    let Command::Exec(exec) = parse(&[
        "exec",
        "-it",
        "--timeout",
        "5m",
        "--nice",
        "-5",
        "--memory",
        "1g",
        "--umask",
        "027",
        "--ulimit",
        "nofile=1:2",
        "--cap-drop",
        "ALL",
        "s",
        "--",
        "vi",
        "-t",
    ]) else {
        panic!("not an exec")
    };
    assert!(exec.command.interactive && exec.command.tty);
    let process = exec.command.process;
    assert_eq!((process.timeout_ms(), process.nice), (Some(300_000), Some(-5)));
    assert_eq!((exec.limits.memory, process.umask), (Some(1 << 30), Some(0o27)));
    assert_eq!(exec.argv, ["vi", "-t"]);
    let Command::Exec(exec) = parse(&["exec", "--login", "s"]) else { panic!("not an exec") };
    assert!(exec.argv.is_empty());
    let Command::Shell(shell) = parse(&["shell"]) else { panic!("not a shell") };
    assert!(shell.target.is_none() && !shell.options.any());
    let Command::Shell(shell) = parse(&["shell", "--memory", "512"]) else { panic!("no") };
    assert!(shell.options.any());
}

#[test]
fn the_daemons_face() {
    let line = "serve --listen 127.0.0.1:0 --driver process --data-dir /d --images /i --default-image busybox --config /c --allow-anonymous";
    let words: Vec<_> = line.split(' ').collect();
    let Command::Serve(serve) = parse(&words) else { panic!("not serve") };
    assert_eq!(serve.listen.unwrap().port(), 0);
    assert_eq!(serve.driver, Some(Driver::Process));
    assert!(serve.allow_anonymous);
}

#[test]
fn wrong_lines_are_refused() {
    for line in [
        &["run", "debian"][..],
        &["exec", "s"],
        &["kill", "s"],
        &["attach"],
        &["attach", "a", "b", "c"],
        &["shell", "s", "--image", "i"],
        &["exec", "--detach-keys", "ctrl-1", "s", "ls"],
        &["exec", "--ulimit", "nofile", "s", "ls"],
        &["serve", "--driver", "x"],
        &[],
    ] {
        let words = std::iter::once("postern").chain(line.iter().copied());
        assert!(Args::try_parse_from(words).is_err(), "{line:?}");
    }
}

#[test]
fn listings_take_json() {
    let Command::Sessions(sessions) = parse(&["sessions", "--json"]) else { panic!("no") };
    assert!(sessions.json && sessions.action.is_none());
    let Command::Sessions(sessions) = parse(&["sessions", "ls", "--json"]) else { panic!("no") };
    assert!(matches!(sessions.action, Some(SessionsAction::Ls { json: true })));
}

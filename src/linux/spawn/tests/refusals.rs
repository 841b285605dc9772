//! What an operator reads when an app cannot be started.

use super::*;

#[test]
fn a_program_that_is_not_there_is_named_with_the_path() {
    let refused = refusal_of(&["no-such-npm"], |_| {});
    assert_eq!(refused, "\"no-such-npm\" is not in PATH (/usr/bin:/bin)");
    let refused = refusal_of(&["no-such-npm"], |launch| launch.env.clear());
    assert_eq!(refused, "\"no-such-npm\" is not in PATH (/usr/local/bin:/usr/bin:/bin)");
    let refused = refusal_of(&["/nowhere/start.sh"], |_| {});
    assert_eq!(refused, "/nowhere/start.sh does not exist");
    let refused = refusal_of(&["./no-such-start.sh"], |launch| launch.cwd = "/tmp".into());
    assert_eq!(refused, "/tmp/no-such-start.sh does not exist");
}

#[test]
fn a_path_entry_that_hides_its_programs_is_named() {
    let dir = open_dir();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    let refused = refusal_of(&["no-such-npm"], |launch| {
        launch.identity = someone();
        launch.env = vec![("PATH".into(), format!("{}:/bin", closed.display()).into())];
    });
    let (closed, user) = (closed.display(), someones_name());
    assert_eq!(refused, format!("\"no-such-npm\" is not in PATH ({closed}:/bin); {user} may not look into {closed}"));
}

#[test]
fn a_program_without_the_right_to_run_is_named_with_the_user() {
    let dir = open_dir();
    let script = dir.path().join("start.sh");
    write_script(&script, "#!/bin/sh\n", 0o644);
    let user = someones_name();
    let expected = format!("{} may not be executed by {user}: permission denied", script.display());
    assert_eq!(refusal_of(&[script.to_str().unwrap()], |launch| launch.identity = someone()), expected);
    let refused = refusal_of(&["start.sh"], |launch| {
        launch.identity = someone();
        launch.env = vec![("PATH".into(), format!("/nowhere:{}:/bin", dir.path().display()).into())];
    });
    assert_eq!(refused, expected);
    assert_eq!(refusal_of(&["/usr"], |_| {}), "/usr is a directory, not a program");
}

#[test]
fn a_directory_that_cannot_be_entered_is_named() {
    let refused = refusal_of(&["true"], |launch| launch.cwd = "/srv/no-such-app".into());
    assert_eq!(refused, "the directory /srv/no-such-app does not exist");
    let refused = refusal_of(&["true"], |launch| launch.cwd = "/etc/passwd".into());
    assert_eq!(refused, "/etc/passwd is not a directory");
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o000)).unwrap();
    let refused = refusal_of(&["true"], |launch| {
        launch.identity = someone();
        launch.cwd = dir.path().into();
    });
    let (path, user) = (dir.path().display(), someones_name());
    assert_eq!(refused, format!("the directory {path} may not be entered by {user}: permission denied"));
}

#[test]
fn a_script_without_its_interpreter_names_it() {
    let dir = open_dir();
    let script = dir.path().join("start.sh");
    let path = script.display().to_string();
    write_script(&script, "#! /opt/no-such/node --flag\n", 0o755);
    let refused = refusal_of(&[&path], |launch| launch.identity = someone());
    assert_eq!(refused, format!("{path} cannot run: its interpreter /opt/no-such/node does not exist"));
    write_script(&script, "#!/bin/sh\r\necho hello\r\n", 0o755);
    let refused = refusal_of(&[&path], |_| {});
    let words = "its interpreter \"/bin/sh\\r\" does not exist; the script has Windows line ends";
    assert_eq!(refused, format!("{path} cannot run: {words}"));
}

#[test]
fn a_script_without_a_first_line_is_no_program() {
    let dir = open_dir();
    let script = dir.path().join("start.sh");
    write_script(&script, "echo hello\n", 0o755);
    let path = script.display().to_string();
    let expected = format!("{path} is neither a program for this machine nor a script that begins with a #! line");
    assert_eq!(refusal_of(&[&path], |_| {}), expected);
}

#[test]
fn a_program_that_is_being_written_is_busy() {
    let dir = open_dir();
    let program = dir.path().join("program");
    std::fs::copy("/bin/true", &program).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).mode(0o755).open(&program).unwrap();
    let path = program.display().to_string();
    assert_eq!(refusal_of(&[&path], |_| {}), format!("{path} cannot run while it is open for writing"));
    drop(writer);
    output_of(&[&path], |_| {});
}

#[test]
fn what_no_kernel_takes_is_refused() {
    let long = "x".repeat(200_000);
    assert_eq!(
        refusal_of(&["echo", &long], |_| {}),
        "the command and its environment are longer than the kernel takes"
    );
    assert_eq!(refusal_of(&["echo", "a\0b"], |_| {}), "the command contains a NUL byte");
    assert_eq!(refusal_of(&[], |_| {}), "there is no command to run");
    assert_eq!(refusal_of(&[""], |_| {}), "there is no command to run");
    let refused = refusal_of(&["true"], |launch| launch.env.push(("A=B".into(), "c".into())));
    assert_eq!(refused, "\"A=B\" cannot be the name of an environment variable");
    let refused = refusal_of(&["true"], |launch| launch.env.push(("A".into(), "b\0c".into())));
    assert_eq!(refused, "the environment contains a NUL byte");
}

#[test]
fn becoming_another_user_without_the_right_to_is_refused() {
    if is_root() {
        return;
    }
    let refused = refusal_of(&["true"], |launch| launch.identity = Some(Identity::of_name("root").unwrap()));
    assert_eq!(refused, "cannot become the user root");
}

//! What stands in contrib is right: for those who copy it to a server and do not want to learn there that it is not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)
}

#[expect(clippy::disallowed_methods, reason = "as a shell starts it")]
fn run(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).output()
}

#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn is_valid(file: &Path, apps: &str) {
    let supervisor = env!("CARGO_BIN_EXE_infissi-supervisord");
    let checked = run(supervisor, &["--check", "--config", file.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains(&format!("is valid: {apps}")), "{checked:?}");
}

#[test]
fn the_configuration_of_the_server_is_valid() {
    is_valid(&contrib("examples/fastpanel/supervisor.toml"), "2 apps");
}

#[test]
fn the_first_configuration_of_the_package_is_valid_and_so_is_what_it_suggests() {
    let file = contrib("deb/supervisor.toml");
    is_valid(&file, "0 apps");
    let suggested: String = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n")
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("supervisor.toml");
    // Prose has a space behind its mark.
    std::fs::write(&file, suggested.lines().filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n"))
        .unwrap();
    is_valid(&file, "1 app");
}

#[test]
fn nginx_takes_the_snippets_for_its_vhost() {
    let dir = tempfile::tempdir().unwrap();
    let (here, nginx) = (dir.path().display(), contrib("nginx"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {here}/{kind};\n"))
        .concat();
    let config = format!(
        "pid {here}/nginx.pid;\nerror_log {here}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         include {nginx}/upgrade.conf;\nserver {{\nlisten 127.0.0.1:8080;\ninclude {nginx}/location.conf;\n}}\n}}\n",
        nginx = nginx.display()
    );
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let there = std::env::split_paths(&path).map(|dir| dir.join("nginx")).find(|nginx| nginx.is_file());
    let Some(program) = there else { return skip("there is no nginx") };
    let said =
        run(program.to_str().unwrap(), &["-t", "-p", dir.path().to_str().unwrap(), "-c", file.to_str().unwrap()]);
    let said = said.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn bash_completes_what_the_program_itself_tells() {
    let programs = Path::new(env!("CARGO_BIN_EXE_infissi-ctl")).parent().unwrap();
    let script = format!(
        "PATH='{}':$PATH; . '{}'; COMP_WORDS=(infissi-ctl by-) COMP_CWORD=1; $(complete -p infissi-ctl | \
         sed 's/.*-F \\([^ ]*\\).*/\\1/') infissi-ctl by- infissi-ctl; echo \"${{COMPREPLY[@]}}\"",
        programs.display(),
        contrib("completions/infissi-ctl.bash").display()
    );
    let completed = run("bash", &["--norc", "-c", &script]).unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "by-hand", "{completed:?}");
}

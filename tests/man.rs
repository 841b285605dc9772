//! The pages under `man/` say what `--help` says: generated from the same definitions, completed by hand-written
//! sections (`man/*.in`). `UPDATE_MAN=1 cargo test --test man` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use infissi::config::{self, Facts, Sources};
use infissi::ctl::arguments::{Arguments, GROUPS};
use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The day of this version, as the heads of the pages show it.
const DATE: &str = "2026-11-26";

#[test]
fn the_page_of_infissi_ctl_is_up_to_date() {
    let mut definition = Arguments::command();
    definition.build();
    let mut page = head(&definition, "1", "User Commands");
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    for (title, names) in GROUPS {
        commands.control("SS", [title]);
        for name in names {
            describe(definition.find_subcommand(name).unwrap(), &mut commands);
        }
    }
    page.push_str(&commands.render());
    compare("infissi-ctl.1", page);
}

#[test]
fn the_page_of_infissi_supervisord_is_up_to_date() {
    let page = head(&infissi::daemon::arguments::Arguments::command(), "8", "System Administration");
    compare("infissi-supervisord.8", page);
}

#[test]
fn every_command_is_in_a_group_once() {
    let definition = Arguments::command();
    let mut defined: Vec<&str> = definition.get_subcommands().map(Command::get_name).collect();
    let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    defined.sort_unstable();
    grouped.sort_unstable();
    assert_eq!(defined, grouped);
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let page = std::fs::read_to_string(directory().join("supervisor.toml.5")).unwrap();
    let described =
        |key: &str| page.lines().any(|line| line.starts_with('.') && line.split([' ', '"']).any(|word| word == key));
    let keys = accepted_keys();
    assert!(keys.len() > 40, "{keys:?}");
    let tables = ["backoff", "health", "logs", "drain", "deploy", "backup"].map(|table| format!("[apps.NAME.{table}]"));
    let has_a_section = |key: &str| {
        page.lines().any(|line| tables.iter().any(|table| line.ends_with(table.as_str()) && table.contains(key)))
    };
    let missing: Vec<&String> = keys.iter().filter(|key| !described(key) && !has_a_section(key)).collect();
    assert!(missing.is_empty(), "man/supervisor.toml.5 does not describe {missing:?}");
}

#[test]
fn every_argument_of_every_command_is_described() {
    let mut definition = Arguments::command();
    definition.build();
    for command in
        GROUPS.iter().flat_map(|(_, names)| names.iter()).map(|name| definition.find_subcommand(name).unwrap())
    {
        let missing = command.get_arguments().find(|arg| !arg.is_hide_set() && arg.get_help().is_none());
        assert!(missing.is_none(), "no help for {missing:?} of {}", command.get_name());
    }
}

#[test]
fn every_exit_code_and_every_variable_of_the_environment_is_described() {
    let page = |name: &str| std::fs::read_to_string(directory().join(name)).unwrap();
    let pages = ["infissi-ctl.1", "supervisor.toml.5", "infissi-supervisord.8"].map(page);
    for (page, most) in [(&pages[0], 5), (&pages[2], 2)] {
        let (_, statuses) = page.split_once(".SH EXIT STATUS").unwrap();
        let missing: Vec<u8> = (0..=most).filter(|code| !statuses.contains(&format!(".TP\n.B {code}\n"))).collect();
        assert!(missing.is_empty(), "no word on {missing:?} in\n{statuses}");
    }
    // Ours, those of Next.js and systemd that are texts somewhere, and whatever is asked for by name.
    let variable =
        Regex::new(r#""((?:INFISSI|NEXT)_[A-Z_]+|[A-Z]+_DIRECTORY|[A-Z]+_SOCKET)"|var(?:_os)?\("([A-Z_]+)"\)"#)
            .unwrap();
    let mut missing = BTreeSet::new();
    let mut count = 0;
    for text in sources(&directory().with_file_name("src")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for found in variable.captures_iter(code) {
            let name = found.get(1).or(found.get(2)).unwrap().as_str();
            count += 1;
            // Those that break something on purpose are in builds with debug assertions alone.
            if !name.starts_with("INFISSI_FAIL") && !pages.iter().any(|page| page.contains(name)) {
                missing.insert(name.to_owned());
            }
        }
    }
    assert!(count > 10, "{count}");
    assert!(missing.is_empty(), "no page describes {missing:?}");
}

/// The texts of all files below.
fn sources(below: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.extension() {
        None => sources(&path),
        Some(kind) if kind == "rs" && !path.ends_with("tests.rs") && !path.ends_with("build.rs") => {
            vec![std::fs::read_to_string(path).unwrap()]
        }
        Some(_) => Vec::new(),
    });
    texts.flatten().collect()
}

/// As the refusal of a key that is none of them lists them, table by table.
fn accepted_keys() -> Vec<String> {
    let text = "[supervisor]\nqqqqqqqqqqqq = 1\n[apps.a]\nqqqqqqqqqqqq = 1\n[apps.a.health]\nqqqqqqqqqqqq = 1\n\
                [apps.a.logs]\nqqqqqqqqqqqq = 1\n[apps.a.backoff]\nqqqqqqqqqqqq = 1\n\
                [apps.a.limits]\nqqqqqqqqqqqq = 1\n[apps.a.drain]\nqqqqqqqqqqqq = 1\n\
                [apps.a.deploy]\nqqqqqqqqqqqq = 1\n\
                [apps.a.backup]\nqqqqqqqqqqqq = 1\n";
    let sources = Sources::from_text(Path::new("/supervisor.toml"), text, 0);
    let facts = Facts { is_root: false, user_name: &|_| None, log_dir: None };
    let mistakes = config::parse(&sources, &facts).unwrap_err().mistakes;
    let lists = mistakes.iter().filter_map(|mistake| mistake.expected.strip_prefix("there are "));
    lists.flat_map(|list| list.split(", ")).map(str::to_owned).collect()
}

fn head(definition: &Command, section: &str, manual: &str) -> String {
    let version = format!("infissi {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(definition.clone()).section(section).source(version).manual(manual);
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    // Its own would name every option and no command.
    let mut synopsis = Roff::new();
    let usage = definition.clone().render_usage().to_string();
    let (name, rest) = usage.trim_start_matches("Usage: ").split_once(' ').unwrap();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text([bold(name), roman(format!(" {rest}"))]);
    page.extend(synopsis.render().into_bytes());
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    // It leaves the date out, and what follows would be taken for it.
    String::from_utf8(page).unwrap().replacen(&format!(" {section}  \""), &format!(" {section} {DATE} \""), 1)
}

/// A command's usage, aliases, what it does and its own options.
fn describe(command: &Command, page: &mut Roff) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: infissi-ctl ").to_owned();
    page.control("TP", []);
    page.text([bold(usage)]);
    let what = command.get_about().map(ToString::to_string).unwrap_or_default();
    let end = if what.ends_with('?') { "" } else { "." };
    let mut about = vec![roman(format!("{what}{end}"))];
    let aliases: Vec<&str> = command.get_visible_aliases().collect();
    if !aliases.is_empty() {
        about.push(roman(format!(" Also: {}.", aliases.join(", "))));
    }
    page.text(about);
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| is_own(arg)).collect();
    if own.is_empty() {
        return;
    }
    page.control("RS", []);
    for arg in own {
        page.control("TP", []);
        page.text(spelling(arg));
        page.text([roman(arg.get_help().map(ToString::to_string).unwrap_or_default())]);
    }
    page.control("RE", []);
}

fn is_own(arg: &Arg) -> bool {
    !arg.is_hide_set()
        && !arg.is_global_set()
        && arg.get_help().is_some()
        && !["help", "version"].contains(&arg.get_id().as_str())
}

fn spelling(arg: &Arg) -> Vec<Inline> {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
    if arg.is_positional() {
        return vec![italic(value)];
    }
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let mut inline = vec![bold(format!("{short}--{}", arg.get_long().unwrap_or_default()))];
    if arg.get_action().takes_values() {
        inline.extend([roman(" "), italic(value)]);
    }
    inline
}

fn compare(name: &str, generated: String) {
    let written = std::fs::read_to_string(directory().join(format!("{name}.in"))).unwrap();
    let page = format!(
        ".\\\" Made from {name}.in and the program's own --help: UPDATE_MAN=1 cargo test --test man\n{generated}{written}"
    );
    let file = directory().join(name);
    if std::env::var_os("UPDATE_MAN").is_some() {
        std::fs::write(&file, page).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == page, "man/{name} is out of date: UPDATE_MAN=1 cargo test --test man");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man")
}

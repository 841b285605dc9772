//! What hands that know PM2 type, and slips: translated, or answered with the right command.

use super::arguments::Arguments;
use super::failure::Failure;
use super::session::Session;
use crate::api::{AppStatus, RefusalCode, routes};
use std::ffi::OsString;
use std::io::Write;

/// What becomes of a word that is no command here.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// These words instead; the rest of the line stays behind them.
    Instead(&'static [&'static str]),
    /// There is nothing to do, for this reason.
    Nothing(&'static str),
    Refused(Failure),
}

/// A suggestion is worth making from this likeness on (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

pub(crate) fn meaning(words: &[OsString]) -> Meaning {
    let word = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    let rest = words.get(1..).unwrap_or_default();
    let argument = |index: usize, otherwise: &str| {
        rest.get(index).map_or_else(|| otherwise.to_owned(), |word| word.to_string_lossy().into_owned())
    };
    let usage = |message: &str, hint: String| Meaning::Refused(Failure::usage(message, hint));
    match word.as_ref() {
        "jlist" | "prettylist" => Meaning::Instead(&["list", "--json"]),
        "monit" | "dash" | "dashboard" | "imonit" | "top" | "stats" => Meaning::Instead(&["list", "--watch"]),
        "desc" | "inspect" => Meaning::Instead(&["show"]),
        "kill" => Meaning::Instead(&["shutdown"]),
        "gracefulReload" => Meaning::Instead(&["reload"]),
        "report" => Meaning::Instead(&["doctor"]),
        "update" | "updatePM2" => Meaning::Instead(&["upgrade"]),
        "save" | "dump" => Meaning::Nothing(
            "Nothing to save: supervisor.toml says what runs, and the supervisor itself remembers what was stopped.",
        ),
        "resurrect" => {
            Meaning::Nothing("Nothing to resurrect: the supervisor starts its apps by itself, see `infissi-ctl list`.")
        }
        "reloadLogs" => Meaning::Nothing(
            "Nothing to reload: log files that were moved or deleted are reopened, and rotation is built in.",
        ),
        "startup" => usage(
            "systemd starts the supervisor at boot, and the supervisor its apps",
            "sudo systemctl enable --now infissi-supervisor".to_owned(),
        ),
        "unstartup" => {
            usage("systemd starts the supervisor at boot", "sudo systemctl disable --now infissi-supervisor".to_owned())
        }
        "enable" | "disable" => usage(
            "whether an app starts with the supervisor stands in supervisor.toml",
            format!(
                "set autostart = {} in [apps.{}] and run `infissi-ctl apply`",
                word == "enable",
                argument(0, "NAME")
            ),
        ),
        "daemon-reload" => usage("supervisor.toml is read again when it is applied", "infissi-ctl apply".to_owned()),
        "delete" | "del" | "rm" => usage(
            "an app goes when it goes from supervisor.toml",
            format!(
                "remove [apps.{}] there and run `infissi-ctl apply`; `infissi-ctl stop` only stops it",
                argument(0, "NAME")
            ),
        ),
        "scale" => usage(
            "how many instances an app has stands in supervisor.toml",
            format!(
                "set instances = {} in [apps.{}] and run `infissi-ctl apply`",
                argument(1, "N"),
                argument(0, "NAME")
            ),
        ),
        "sendSignal" => usage(
            "the app comes first, then the signal",
            format!("infissi-ctl signal {} {}", argument(1, "APP"), argument(0, "SIG")),
        ),
        "env" => usage(
            "values of an environment are seen with its app's rights",
            format!("infissi-ctl exec {} -- env", argument(0, "APP")),
        ),
        "id" | "pid" => usage(
            "apps have names, not numbers; pids are in the table",
            format!("infissi-ctl show {}", argument(0, "APP")),
        ),
        "ecosystem" => usage("supervisor.toml says what runs", "infissi-ctl init DIR".to_owned()),
        "install" | "set" | "module:install" => {
            usage("there are no modules: log rotation and health checks are built in", "man supervisor.toml".to_owned())
        }
        word => Meaning::Refused(unknown(word)),
    }
}

fn unknown(word: &str) -> Failure {
    let message = format!("there is no command `{word}`");
    match nearest(word) {
        Some(near) => Failure::usage(message, format!("did you mean `infissi-ctl {near}`?")),
        None => Failure::usage(message, "infissi-ctl --help shows what there is"),
    }
}

fn nearest(word: &str) -> Option<String> {
    let definition = Arguments::definition();
    let commands = definition.get_subcommands().flat_map(|command| {
        std::iter::once(command.get_name().to_owned()).chain(command.get_visible_aliases().map(str::to_owned))
    });
    let scored = commands.map(|known| (strsim::jaro_winkler(word, &known), known));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// `start ecosystem.config.js`, `start npm --name web -- start`, `start server.js`: PM2's ways to say what runs.
pub(crate) fn refuse_scripts(apps: &[String], told_otherwise: bool) -> Result<(), Failure> {
    let script = apps.iter().find(|word| is_script(word));
    if script.is_none() && !told_otherwise {
        return Ok(());
    }
    let what = script.map_or_else(|| apps.join(" "), Clone::clone);
    Err(Failure::usage(
        format!("`{what}` is no app: what runs, and how, stands in supervisor.toml"),
        "`infissi-ctl init .` prints the lines for the project here; put them there and run `infissi-ctl apply`",
    ))
}

fn is_script(word: &str) -> bool {
    const ENDS: [&str; 9] = [".js", ".cjs", ".mjs", ".ts", ".json", ".sh", ".py", ".yml", ".yaml"];
    const RUNNERS: [&str; 6] = ["npm", "npx", "yarn", "pnpm", "bun", "node"];
    word.contains('/') || ENDS.iter().any(|end| word.ends_with(end)) || RUNNERS.contains(&word)
}

/// `restart 0`: where no app has that name, the app that PM2 would have meant.
pub(crate) fn explain_number(session: &mut Session, verb: &str, apps: &[String], failure: Failure) -> Failure {
    let Failure::Answered(body) = &failure else { return failure };
    if body.error.code != RefusalCode::NoSuchApp {
        return failure;
    }
    let Some(number) = apps.iter().find_map(|app| app.parse::<usize>().ok()) else { return failure };
    let known = session.client().and_then(|client| Ok(client.get::<Vec<AppStatus>>(routes::APPS)?));
    let meant = known.ok().and_then(|apps| apps.into_iter().nth(number));
    Failure::new(
        RefusalCode::NoSuchApp,
        format!("there is no app `{number}`: apps have names, not numbers"),
        format!("infissi-ctl {verb} {}", meant.map_or_else(|| "NAME".to_owned(), |app| app.name)),
    )
}

pub(crate) fn nothing_to_do(session: &mut Session, why: &str) -> Result<u8, Failure> {
    if session.json {
        session.print_json(&serde_json::json!({ "message": why }))?;
    } else {
        writeln!(session.out, "{why}")?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> (RefusalCode, String, String) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match meaning(&words) {
            Meaning::Refused(Failure::Answered(body)) => {
                (body.error.code, body.error.message, body.error.hint.unwrap_or_default())
            }
            other @ (Meaning::Refused(_) | Meaning::Instead(_) | Meaning::Nothing(_)) => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn pm2_words_are_answered_with_the_right_command() {
        for (line, expected) in [
            ("delete web", "[apps.web]"),
            ("scale web 4", "instances = 4 in [apps.web]"),
            ("sendSignal SIGHUP web", "infissi-ctl signal web SIGHUP"),
            ("startup", "systemctl enable --now infissi-supervisor"),
            ("env web", "infissi-ctl exec web -- env"),
            ("enable web", "autostart = true in [apps.web]"),
        ] {
            let (code, _, hint) = answer(line);
            assert_eq!(code, RefusalCode::Usage, "{line}");
            assert!(hint.contains(expected), "{line}: {hint}");
        }
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_command() {
        for (slip, near) in [("lst", "list"), ("restrat", "restart"), ("shwo", "show"), ("desribe", "describe")] {
            let (code, message, hint) = answer(slip);
            assert_eq!(code.exit_code(), 2);
            assert!(message.contains(slip) && hint.contains(near), "{slip}: {hint}");
        }
        assert!(answer("xyzzy").2.contains("--help"));
    }

    #[test]
    fn scripts_and_runners_are_no_apps() {
        for word in ["ecosystem.config.js", "npm", "./bin/www", "pm2.json"] {
            assert!(refuse_scripts(&[word.to_owned()], false).is_err(), "{word}");
        }
        assert!(refuse_scripts(&["web".to_owned(), "api.v2".to_owned()], false).is_ok());
        assert!(refuse_scripts(&["web".to_owned()], true).is_err());
    }
}

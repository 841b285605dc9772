use super::*;
use crate::ctl::parse;

fn key(allow: &[Verb], apps: &[&str]) -> RestrictedOptions {
    RestrictedOptions { allow: allow.to_vec(), apps: apps.iter().map(|app| (*app).to_owned()).collect() }
}

/// What becomes of these words, as far as it is decided before the supervisor is asked.
fn decided(asked: &OsStr, options: &RestrictedOptions) -> Result<Command, String> {
    let told = |failure| match failure {
        Failure::Answered(body) => format!("{} ({})", body.error.message, body.error.hint.unwrap_or_default()),
        Failure::Output(error) => panic!("{error}"),
    };
    let words = words(asked, options).map_err(told)?;
    let arguments = parse(&words).map_err(|error| error.to_string())?;
    decide(arguments, options).map_err(told)
}

/// A key that may do all that a key can be allowed.
fn mighty() -> RestrictedOptions {
    key(Verb::value_variants(), &["current", "blog"])
}

/// As contrib has it for CI.
fn of_ci() -> RestrictedOptions {
    key(&[Verb::Deploy, Verb::Rollback, Verb::List, Verb::Logs], &["current"])
}

#[test]
fn what_is_named_is_carried_out() {
    for line in [
        "deploy current",
        "infissi-ctl deploy current",
        "infissi-ctl deploy current --ref v1.4.2 --wait 20m",
        "deploy current --from -",
        "deploy 'current' --from - --id 20261126-152353-0a1b2c3 --stage",
        "rollback current --to 20261126-152353-0a1b2c3",
        "logs current -n 50 --no-follow --grep '; rm -rf / && $(id)'",
        "logs current current",
        "list --json",
        "jlist",
        "ls",
        "infissi-ctl",
        "--json deploy current",
    ] {
        let decided = decided(line.as_ref(), &of_ci());
        assert!(decided.is_ok(), "{line}: {decided:?}");
    }
    for line in ["exec current -- node -e 'console.log(1)'", "stop blog current", "reload blog", "ping", "version"] {
        let decided = decided(line.as_ref(), &mighty());
        assert!(decided.is_ok(), "{line}: {decided:?}");
    }
}

#[test]
fn everything_else_is_refused_and_told_what_is_allowed() {
    let table: &[(&str, &str)] = &[
        // Other verbs, by whatever name.
        ("restart current", "`restart` is not allowed"),
        ("reload current", "`restart` is not allowed"),
        ("gracefulReload current", "`restart` is not allowed"),
        ("stop current", "`stop` is not allowed"),
        ("show current", "`show` is not allowed"),
        ("exec current -- sh", "`exec` is not allowed"),
        ("exec current sh", "`exec` is not allowed"),
        ("flush current", "`flush` is not allowed"),
        ("signal current KILL", "`signal` is not allowed"),
        ("backup current", "`backup` is not allowed"),
        ("swap current", "`swap` is not allowed"),
        ("ping", "`ping` is not allowed"),
        ("shutdown", "\"shutdown\" is nothing"),
        ("kill", "\"shutdown\" is nothing"),
        ("apply", "\"apply\" is nothing"),
        ("check /etc/shadow", "\"check\" is nothing"),
        ("init /root", "\"init\" is nothing"),
        ("doctor", "\"doctor\" is nothing"),
        ("events", "\"events\" is nothing"),
        ("by-hand current", "\"by-hand\" is nothing"),
        ("completions bash", "\"completions\" is nothing"),
        ("releases current --prune 1", "\"releases --prune\" is nothing"),
        ("restricted --allow stop --app other", "\"restricted\" is nothing"),
        ("save", "\"save\" is nothing"),
        ("scp -t /tmp", "\"scp\" is nothing"),
        ("/usr/lib/openssh/sftp-server", "sftp-server\" is nothing"),
        ("sudo infissi-ctl deploy current", "\"sudo\" is nothing"),
        ("/tmp/infissi-ctl deploy current", "\"/tmp/infissi-ctl\" is nothing"),
        ("infissi-ctl infissi-ctl deploy current", "\"infissi-ctl\" is nothing"),
        ("INFISSI_SOCKET=/tmp/s infissi-ctl list", "\"INFISSI_SOCKET=/tmp/s\" is nothing"),
        // Other apps, by whatever name.
        ("deploy other", "`deploy \"other\"` is not allowed"),
        ("deploy punto-infissi-crm-current", "`deploy "),
        ("deploy all", "`deploy \"all\"` is not allowed"),
        ("deploy cur*", "`deploy "),
        ("deploy 'c?rrent'", "`deploy "),
        ("deploy {current,other}", "`deploy "),
        ("deploy current,other", "`deploy \"current,other\"` is not allowed"),
        ("deploy ../current", "`deploy "),
        ("deploy Current", "`deploy "),
        ("deploy ''", "`deploy \"\"` is not allowed"),
        ("logs current other", "`logs \"other\"` is not allowed"),
        ("logs current ../../etc/shadow", "`logs "),
        ("logs -- --lines", "`logs \"--lines\"` is not allowed"),
        ("logs", "`logs` names its app: logs current"),
        ("list other", "`list \"other\"` is not allowed"),
        // Other supervisors.
        ("list --socket /tmp/s", "which supervisor"),
        ("--socket=/tmp/s list", "which supervisor"),
        ("deploy current --config /tmp/supervisor.toml", "which supervisor"),
        // Options that reach further than the app.
        ("deploy current --from /etc", "directories of this machine"),
        ("deploy current --from .", "directories of this machine"),
        ("deploy current --from ./-", "directories of this machine"),
        ("deploy current --from=", "a value is required"),
        ("deploy current --ref=--upload-pack=x", "is no branch"),
        ("deploy current --ref=", "is no branch"),
        ("deploy current --id ../../x", "cannot be the id"),
        ("deploy current --id a/b", "cannot be the id"),
        ("deploy current --init", "\"deploy --init\" is nothing"),
        ("deploy current --no-backup", "backed up"),
        ("rollback current --to ../other", "cannot be the id"),
        ("list --watch", "no terminal"),
        // Shells: these are words, and no command has them.
        ("deploy current; id", "unexpected argument"),
        ("deploy current;id", "`deploy \"current;id\"` is not allowed"),
        ("deploy current ; id", "unexpected argument"),
        ("deploy current && id", "unexpected argument"),
        ("deploy $(id)", "`deploy "),
        ("deploy `id`", "`deploy "),
        ("deploy $APP", "`deploy \"$APP\"` is not allowed"),
        ("list | sh", "`list \"|\"` is not allowed"),
        ("list > /tmp/x", "`list \">\"` is not allowed"),
        ("deploy current\nrestart other", "a line break"),
        ("list\r", "a line break"),
        ("list \u{1b}[2J", "control character"),
        ("deploy 'current", "quotation mark"),
        ("deploy current \\", "unexpected argument"),
        ("", "none was given"),
        ("   ", "none was given"),
        ("''", "\"\" is nothing"),
        ("# nothing", "none was given"),
    ];
    for (line, why) in table {
        let refused = decided(line.as_ref(), &of_ci()).map(|command| format!("{command:?}"));
        let told = refused.expect_err(line);
        assert!(told.contains(why), "{line}: {told}");
        let by_clap = told.starts_with("error: ");
        assert!(by_clap || told.contains("(allowed: infissi-ctl deploy|rollback|list|logs with current)"), "{told}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let told = decided(OsStr::from_bytes(b"deploy \xff"), &of_ci()).unwrap_err();
    assert!(told.contains("not UTF-8"), "{told}");
}

#[test]
fn a_verb_alone_is_good_for_the_apps_that_are_named_and_no_others() {
    for line in [
        "start other",
        "stop current other",
        "restart other",
        "exec other -- id",
        "exec current --release ../x -- id",
        "signal other HUP",
        "backups other",
        "releases other",
        "reset *",
        "health all",
        "show current other",
        "start server.js --name current",
        "start current --only other",
        "restart current --env x",
    ] {
        assert!(decided(line.as_ref(), &mighty()).is_err(), "{line}");
    }
}

#[test]
fn what_a_client_may_set_is_not_believed() {
    for name in ["INFISSI_SOCKET", "INFISSI_CONFIG", "GIT_SSH_COMMAND", "LD_PRELOAD", "NODE_OPTIONS", ASKED] {
        assert!(!is_kept(name.as_ref()), "{name}");
    }
    assert!(is_kept("PATH".as_ref()) && is_kept("LC_ALL".as_ref()) && is_kept("HOME".as_ref()));
}

#[test]
fn the_line_of_a_key_names_its_apps() {
    for app in ["all", "web-*", "", "{a,b}"] {
        assert!(refuse_patterns(&key(&[Verb::List], &[app])).is_err(), "{app}");
    }
    assert!(refuse_patterns(&of_ci()).is_ok());
}

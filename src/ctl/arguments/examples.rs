//! What `--help` of a command ends with: how it is typed, and what it exits with.

pub(super) const EXAMPLES: &str = "\
Without a command: list. APP is one or more names, aliases, globs, or all.

Examples:
  infissi-ctl                       the table of all apps
  infissi-ctl restart staging       waits until the new one has taken over
  infissi-ctl logs staging -n 100   the last 100 lines, then live
  infissi-ctl show staging          why did it restart?
  infissi-ctl apply --dry-run       what would the changed supervisor.toml do?

Exit status: 0 done, 1 it failed, 2 wrong usage or bad configuration,
3 no supervisor answers, 4 no such app, 5 refused (busy, not allowed).";

pub(super) const UPGRADE_EXAMPLES: &str = "\
Examples:
  cargo install --path . && infissi-ctl upgrade
  infissi-ctl version               does what runs differ from what is installed?

Exit status: 0 the new program has taken over, 1 it cannot (the old one goes on),
5 while a release is being activated or an app is started or stopped: try again
then. Where nothing else was installed the same program begins anew, with the
libraries that are installed now.";

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  infissi-ctl list
  infissi-ctl list --json | jq -r '.[] | select(.status != \"online\") | .name'";

pub(super) const LOGS_EXAMPLES: &str = "\
A line of standard output is marked |, one of standard error !.

Examples:
  infissi-ctl logs                                  all apps, live
  infissi-ctl logs staging -n 200 --no-follow
  infissi-ctl logs staging --since 10m --err
  infissi-ctl logs staging --since 'yesterday 02:00' --grep 'Error|timeout'
  infissi-ctl logs staging --raw --no-follow > staging.txt";

pub(super) const DEPLOY_EXAMPLES: &str = "\
Until the new release is healthy, nothing that runs is touched; a deploy that fails leaves the old one serving.

Examples:
  infissi-ctl deploy staging                     the branch that its deploy table names
  infissi-ctl deploy current --ref v1.4.2
  infissi-ctl deploy current --from ./build      a directory, built here or by CI
  git archive HEAD | ssh HOST infissi-ctl deploy current --from -
  infissi-ctl deploy current --stage && infissi-ctl swap current
  infissi-ctl deploy current --init --dry-run    out of the checkout it runs in: what is not in git?
  infissi-ctl deploy current --dry-run";

pub(super) const SIGNAL_EXAMPLES: &str = "\
Examples:
  infissi-ctl signal staging HUP
  infissi-ctl signal 'worker-*' SIGUSR2";

pub(super) const EXEC_EXAMPLES: &str = "\
Examples:
  infissi-ctl exec staging -- npx prisma migrate status
  infissi-ctl exec staging --release 20261126-152353-0a1b2c3 -- npm test
  infissi-ctl exec staging -- env";

pub(super) const BACKUP_EXAMPLES: &str = "\
It is a .tar.gz; what the commands of `before` dumped is in backup-out/.

Examples:
  infissi-ctl backup current
  infissi-ctl backups current --json | jq -r '.[0].path'     the newest
  tar -tzf /var/backups/crm/backup-20261126-180000.tar.gz    what is in it";

pub(super) const RESTORE_EXAMPLES: &str = "\
The archive is read through first, then unpacked beside; only then do paths change places. Dumps are not loaded.

Examples:
  infissi-ctl restore current latest --dry-run
  infissi-ctl restore current backup-20261126-180000.tar.gz
  infissi-ctl restore current latest --into /tmp/crm          only to look at it";

pub(super) const APPLY_EXAMPLES: &str = "\
Examples:
  infissi-ctl check && infissi-ctl apply --dry-run
  infissi-ctl apply";

pub(super) const INIT_EXAMPLES: &str = "\
Examples:
  infissi-ctl init .
  infissi-ctl init /var/www/crm --port 3000 >> /etc/infissi/supervisor.toml";

pub(super) const RESTRICTED_EXAMPLES: &str = "\
It carries out what SSH_ORIGINAL_COMMAND asks for, if that is one of these commands with these apps; no shell reads it.
Whoever may deploy an app, or exec in it, may run anything as its user.

In ~/.ssh/authorized_keys, in one line:
  command=\"infissi-ctl restricted --allow deploy,rollback,list,logs --app current\",restrict ssh-ed25519 AAAA… ci
Try it:
  SSH_ORIGINAL_COMMAND='restart other' infissi-ctl restricted --allow deploy --app current";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  infissi-ctl completions bash > /etc/bash_completion.d/infissi-ctl
  infissi-ctl completions zsh > \"${fpath[1]}/_infissi-ctl\"
contrib/completions has files that ask for them each time, and so fit every version.";

# bash: /usr/share/bash-completion/completions/infissi-ctl, which the first Tab behind its name loads.
# infissi-ctl itself says what it completes, so that this file is never older than the program.
eval "$(infissi-ctl completions bash 2>/dev/null)"

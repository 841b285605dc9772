# fish: /usr/share/fish/vendor_completions.d/infissi-ctl.fish, which the first Tab behind its name loads.
# infissi-ctl itself says what it completes, so that this file is never older than the program.
infissi-ctl completions fish 2>/dev/null | source

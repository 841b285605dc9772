# For the maintainer scripts: the supervisors of this machine that run the program of this package.
# shellcheck shell=sh

# Another one that the caller's shell has in mind is not meant.
unset INFISSI_SOCKET INFISSI_CONFIG
cd /

# ctl WHOSE COMMAND…: infissi-ctl for one of them, as whose it is: behind a user's socket may be anything, and root neither
# believes it nor waits for it without end.
ctl() {
  whose=$1
  shift
  case "$whose" in
  system) timeout 180 infissi-ctl "$@" ;;
  *) timeout 180 runuser -u "$(owner_of "$whose")" -- infissi-ctl --socket "$whose" "$@" ;;
  esac
}

owner_of() {
  case "$1" in
  system) echo root ;;
  *) stat -c %U "${1%/*}" ;;
  esac
}

# Prints what `ctl` takes for each that answers: the system's, then those of infissi-supervisor@USER. One whose program
# was put elsewhere by hand is none of the package's business.
supervisors() {
  for whose in system /run/infissi-*/supervisor.sock; do
    pid=$(ctl "$whose" ping 2>/dev/null | sed -n 's/.*: pid \([0-9][0-9]*\),.*/\1/p')
    case "$(readlink "/proc/${pid:-none}/exe")" in
    /usr/bin/infissi-supervisord*) echo "$whose" ;;
    esac
  done
}

# Whose it is, for a sentence.
name_of() {
  case "$1" in
  system) echo "the supervisor" ;;
  *) echo "the supervisor of $(owner_of "$1")" ;;
  esac
}

# For the maintainer scripts: the supervisors of this machine that run the program of this package.
# shellcheck shell=sh

# Another one that the caller's shell has in mind is not meant.
unset INFISSI_SOCKET INFISSI_CONFIG
cd /

# ctl WHOSE COMMAND…: infissi-ctl for one of them, as whose it is. Behind a user's socket may be anything: root neither
# believes it nor waits for it without end, and the user's process has neither root's terminal, on which it could type,
# nor root's environment.
ctl() {
  whose=$1
  shift
  case "$1" in
  ping) patience=10 ;;
  # An upgrade that fails is undone by then.
  by-hand | upgrade) patience=60 ;;
  *) patience=180 ;;
  esac
  case "$whose" in
  system) timeout "$patience" /usr/bin/infissi-ctl "$@" ;;
  *)
    status=0
    said=$(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
      setsid --wait timeout --kill-after=5 "$patience" \
      runuser -u "$(owner_of "$whose")" -- /usr/bin/infissi-ctl --socket "$whose" "$@" </dev/null 2>&1) || status=$?
    [ -z "$said" ] || printf '%s\n' "$said"
    return "$status"
    ;;
  esac
}

owner_of() {
  case "$1" in
  system) echo root ;;
  *) stat -c %U "${1%/*}" ;;
  esac
}

# Does the process with this pid run the program of this package, be it one that was replaced or removed since?
is_of_package() {
  case "$(readlink "/proc/$1/exe")" in
  /usr/bin/infissi-supervisord*) true ;;
  *) false ;;
  esac
}

# Prints what `ctl` takes for each that answers: the system's, then those of infissi-supervisor@USER. One whose program
# was put elsewhere by hand is none of the package's business.
supervisors() {
  for whose in system /run/infissi-*/supervisor.sock; do
    pid=$(ctl "$whose" ping 2>/dev/null | sed -n 's/.*: pid \([0-9][0-9]*\),.*/\1/p')
    if is_of_package "${pid:-none}"; then echo "$whose"; fi
  done
}

# Prints the units that run, or are about to run, the program of this package, whether they answer or not.
units() {
  {
    echo infissi-supervisor.service
    systemctl list-units --all --plain --no-legend 'infissi-supervisor@*.service' | sed 's/ .*//'
  } | while read -r unit; do
    pid=$(systemctl show --property=MainPID --value "$unit")
    if [ "${pid:-0}" = 0 ] || is_of_package "$pid"; then echo "$unit"; fi
  done
}

# Whose it is, for a sentence.
name_of() {
  case "$1" in
  system) echo "the supervisor" ;;
  *) echo "the supervisor of $(owner_of "$1")" ;;
  esac
}

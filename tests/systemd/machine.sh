#!/bin/sh
# A machine of a story's own: systemd as PID 1 of namespaces, which die with it, on an overlay of the file system, which
# goes with them. The network is the real one, so that the story's clients are outside.
#
#   machine.sh DIR CGROUP    boots it, and ends it when standard input ends: with whoever holds that, however that may end
#
# DIR/shared is seen at the same path inside; DIR/shared/units are the only units. CGROUP is an empty cgroup of version 2.
# Nothing of the real machine can be written from inside but DIR/shared: neither its files nor its settings, and systemd
# runs no unit and no generator of the real machine, which would set that one up.
set -eu

outside() {
  mkdir -p "$dir/disk" "$dir/root"
  # shellcheck disable=SC2016 # for the inner shell
  sh -c 'echo $$ >"$2/cgroup.procs"; exec setpriv --pdeathsig KILL unshare --fork --kill-child=KILL --pid --mount \
    --cgroup --uts --ipc --propagation private sh "$0" "$1" "$2" inside' "$0" "$dir" "$cgroup" <&- &
  unshared=$!
  trap 'end' EXIT
  until [ -e "$dir/born" ]; do
    kill -0 "$unshared"
    sleep 0.02
  done
  # Who is in the root of systemd's cgroups and not below systemd would keep it from using them.
  echo "$unshared" >"$cgroup/../cgroup.procs"
  : >"$dir/go"
  cat >/dev/null
}

end() {
  # With its PID 1 the kernel ends all that is in a PID namespace, before unshare hears of it.
  init=$(cat "/proc/$unshared/task/$unshared/children" 2>/dev/null) || true
  kill -9 "${init% }" 2>/dev/null || kill -9 "$unshared" 2>/dev/null || true
  wait "$unshared" 2>/dev/null || true
  find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
}

inside() {
  : >"$dir/born"
  until [ -e "$dir/go" ]; do
    sleep 0.02
  done
  root=$dir/root
  mount -t tmpfs -o mode=755 disk "$dir/disk"
  mkdir "$dir/disk/upper" "$dir/disk/work"
  mount -t overlay -o "lowerdir=/,upperdir=$dir/disk/upper,workdir=$dir/disk/work" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$root/proc/sys" "$root/proc/sys"
  mount -o remount,bind,ro "$root/proc/sys"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  for fresh in run tmp dev; do
    mount -t tmpfs -o mode=755 "$fresh" "$root/$fresh"
  done
  chmod 1777 "$root/tmp"
  for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  for program in infissi-supervisord infissi-ctl; do
    : >"$root/usr/local/bin/$program"
    mount --bind "$dir/$program" "$root/usr/local/bin/$program"
  done
  mkdir -p "$root$dir/shared"
  mount --bind "$dir/shared" "$root$dir/shared"
  rm -rf "$root/etc/infissi" "$root/var/lib/infissi" "$root/var/log/infissi"
  cp -R "$dir/shared/etc/." "$root/etc/"
  cat "$dir/shared/passwd" >>"$root/etc/passwd"
  mkdir "$root/real"
  cd "$root"
  pivot_root . real
  umount -l /real
  exec env -i container=story PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH="$dir/shared/units" SYSTEMD_GENERATOR_PATH=/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/none \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_boot,-sys_rawio,-syslog,-mknod \
    "$(command -v /lib/systemd/systemd || command -v /usr/lib/systemd/systemd)" \
    --system --unit=multi-user.target --log-target=null --show-status=no
}

dir=$1 cgroup=$2
"${3:-outside}"

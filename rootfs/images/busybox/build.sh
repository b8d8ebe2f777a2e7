#!/bin/bash
# Writes the root file system of the sample image `busybox` as a plain tar.
#
#   build.sh OUT.tar
#
# One static program and its names: unpacked in milliseconds under emulation
# too, so tests use it wherever Debian is not the point.
set -euo pipefail
out=$1
: "${SOURCE_DATE_EPOCH:?is the time stamp of every file}"

ours=$(command -v busybox) || { echo "busybox is missing: apt-get install busybox-static" >&2; exit 1; }
# The one that goes in may be for another architecture, and then does not run here;
# Debian builds both from one source with one configuration.
busybox=${BUSYBOX:-$ours}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

cd "$root"
chmod 0755 .
mkdir -p bin sbin usr/bin usr/sbin etc dev proc sys run tmp root home/user var/tmp var/log
chmod 1777 tmp var/tmp
chmod 0700 root
install -m 0755 "$busybox" bin/busybox

# `--list-full` says where each name belongs (bin/ls, usr/bin/env, ...).
"$ours" --list-full | while read -r applet; do
  mkdir -p "$(dirname "$applet")"
  [ -e "$applet" ] || ln -s /bin/busybox "$applet"
done

cat > etc/passwd <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
PASSWD
cat > etc/group <<'GROUP'
root:x:0:
tty:x:5:
user:x:1000:
nogroup:x:65534:
GROUP
printf 'root:*:0:0:99999:7:::\nuser:*:0:0:99999:7:::\n' > etc/shadow
chmod 0640 etc/shadow
printf 'postern\n' > etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n' > etc/hosts

# Sorted, one time stamp, numeric owners: the same bytes on every machine that
# has the same busybox. Two passes because /home/user has an owner of its own.
common=(--format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime
  --sort=name --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner)
tar "${common[@]}" --owner=0 --group=0 --exclude=./home/user -cf "$out" .
tar "${common[@]}" --owner=1000 --group=1000 --no-recursion -rf "$out" ./home/user

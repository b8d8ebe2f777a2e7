#!/bin/bash
# Writes the root file system of the sample image `debian` as a plain tar.
#
#   build.sh OUT.tar < sources.list
#
# The package sources come on stdin because they belong to the machine that
# builds, not to the recipe. `cargo xtask images` calls this and packs the tar.
set -euo pipefail
out=$1

# The suite is fixed: the same recipe must not give another Debian next year.
suite=bookworm

# What a person or an agent reaches for in the first minute; nothing else, for
# every megabyte is unpacked into the guest's memory at boot.
packages=(
  bash            # the shell that people write commands for
  python3-minimal # programs of the demo and the tests
  python3         # ... with the whole standard library
  git             # most work starts with a clone
  sudo            # `user` may become root without a password
  procps          # ps, pkill, free: to look at what runs
  ca-certificates # or nothing can be fetched over TLS
)

# Manuals, documents and translations are a quarter of the bytes and no program
# reads them. Copyright files stay: the licences ask for that.
exclude=(
  --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/info/*'
  --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-exclude=/usr/share/doc/*'
  --dpkgopt='path-include=/usr/share/doc/*/copyright'
)

# Runs in the new root. The uid is what images of this kind agree on.
add_user='
  useradd --create-home --uid 1000 --user-group --shell /bin/bash user
  printf "user ALL=(ALL) NOPASSWD:ALL\n" > /etc/sudoers.d/user
  chmod 0440 /etc/sudoers.d/user
  # Made afresh in every guest; what was copied from the build machine is wrong there.
  printf "postern\n" > /etc/hostname
  : > /etc/resolv.conf
  : > /etc/machine-id
'

include=$(IFS=,; echo "${packages[*]}")
exec mmdebstrap --quiet --variant=minbase --format=tar \
  --include="$include" "${exclude[@]}" \
  --customize-hook="chroot \"\$1\" /bin/sh -ec '$add_user'" \
  "$suite" "$out" -

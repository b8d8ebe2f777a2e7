#!/bin/bash
# Writes the root file system of the sample image `debian` as a plain tar.
#
#   build.sh OUT.tar
#
# `make images` calls this and packs the tar.
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
  vim-tiny        # an editor: 2 MB
  htop            # what runs, on a whole screen
  tmux            # several shells on one terminal
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

# The mirrors of the machine that builds, for they are what it can reach. Only
# Debian's own: others may name their releases after Debian's. Without package
# lists this finds none, and mmdebstrap then takes its own default.
mirrors=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
  grep -E "^deb [^ ]+ $suite(-updates|-security)? main\$" | sort -u || true)

include=$(IFS=,; echo "${packages[*]}")
# No device nodes in the tar: /dev is made by whoever runs the image.
mmdebstrap --quiet --variant=minbase --format=tar \
  --include="$include" "${exclude[@]}" \
  --customize-hook="chroot \"\$1\" /bin/sh -ec '$add_user'" \
  --skip=output/dev \
  "$suite" "$out" ${mirrors:+-} <<< "$mirrors"

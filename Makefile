# The front door; what is longer than a line lives in xtask/.
# Each target may be the first command after a checkout.

.DEFAULT_GOAL := help
XTASK := cargo run --quiet -p xtask --

# `make dist ARCH=aarch64`: what guests of another architecture need.
FOR_ARCH := $(if $(ARCH),--arch $(ARCH))

.PHONY: help demo dist build test test-vm test-aarch64 bench lint kernel rootfs reproduce setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set up, build, boot a Debian microVM and run commands in it over HTTP
	@$(XTASK) demo

dist: ## everything that is shipped, into target/dist; for guests of another kind: ARCH=aarch64
	@$(XTASK) setup $(FOR_ARCH) && $(XTASK) dist $(FOR_ARCH)

build: ## compile the workspace (debug)
	@cargo build --workspace

test: ## every check and test on both rigs; the last line counts them
	@$(XTASK) test

test-vm: ## the scenarios in microVMs only
	@$(XTASK) test --only vm

test-aarch64: ## scenarios in an emulated aarch64 microVM; not part of `make test`
	@$(XTASK) test --only aarch64

bench: ## measure, each figure beside its floor
	@$(XTASK) bench

lint: ## formatting, clippy, documentation
	@$(XTASK) test --only lint

kernel: ## build the guest's own kernel (ARCH=aarch64 for that one)
	@$(XTASK) kernel ours $(FOR_ARCH)

rootfs: ## the initramfs and the sample OCI images
	@$(XTASK) setup $(FOR_ARCH) && $(XTASK) initramfs $(FOR_ARCH) && $(XTASK) images $(FOR_ARCH)

reproduce: ## build the agent a second time at another place: the same bytes?
	@$(XTASK) setup $(FOR_ARCH) && $(XTASK) reproduce $(FOR_ARCH)

setup: ## install what all of this needs (Debian, as root)
	@$(XTASK) setup

clean: ## remove target/
	@$(XTASK) clean

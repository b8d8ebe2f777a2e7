//! What programs take for granted of a machine's kernel, whichever it is.

use postern_tests::Rig;
use serde_json::json;

/// Names the system calls that are not there: each is called with arguments that
/// are refused or harmless. Then runs a 32-bit program that exits with 42, and
/// makes a user namespace without being root.
const ASK: &str = r#"
import ctypes, errno, os, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "io_setup": 206, "mq_open": 240, "add_key": 248, "epoll_create1": 291, "eventfd2": 290,
    "inotify_init1": 294, "timerfd_create": 283, "signalfd4": 289, "shmget": 29,
    "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "process_vm_readv": 310,
    "kcmp": 312, "seccomp": 317, "memfd_create": 319, "userfaultfd": 323, "membarrier": 324,
    "copy_file_range": 326, "statx": 332, "io_uring_setup": 425, "pidfd_open": 434, "clone3": 435,
    "close_range": 436, "openat2": 437, "landlock_create_ruleset": 444,
}
for name, number in CALLS.items():
    ctypes.set_errno(0)
    if name == "landlock_create_ruleset":
        done = libc.syscall(number, 0, 0, 1)  # asks for its version
        missing = done < 1
    elif name == "close_range":
        done = libc.syscall(number, 4000, 4000, 0)
        missing = done != 0
    else:
        done = libc.syscall(number, -1, -1, -1, -1, -1, -1)
        missing = done < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP)
    if missing:
        print("missing:", name)

code = bytes.fromhex("b801000000bb2a000000cd80")  # exit(42) by int 0x80
at, size = 0x08048000, 52 + 32 + len(code)
elf = b"\x7fELF\x01\x01\x01" + bytes(9)
for value, width in ((2, 2), (3, 2), (1, 4), (at + 84, 4), (52, 4), (0, 4), (0, 4), (52, 2), (32, 2),
                     (1, 2), (0, 2), (0, 2), (0, 2),
                     (1, 4), (0, 4), (at, 4), (at, 4), (size, 4), (size, 4), (5, 4), (4096, 4)):
    elf += value.to_bytes(width, "little")
with open("/tmp/elf32", "wb") as file:
    file.write(elf + code)
os.chmod("/tmp/elf32", 0o755)
print("32 bit:", subprocess.run(["/tmp/elf32"]).returncode)

CLONE_NEWUSER = 0x10000000
child = os.fork()
if child == 0:
    os.setuid(1000)
    os._exit(libc.unshare(CLONE_NEWUSER) & 1)
print("user namespace:", os.waitpid(child, 0)[1])
"#;

pub(crate) fn programs_find_the_system_calls_that_they_take_for_granted(rig: &Rig) {
    let session = rig.fresh(json!({"image": "debian", "memory_mb": 1024}));
    let done = session.exec(&json!({"argv": ["python3", "-c", ASK]})).ok();
    assert_eq!(done["stdout"], "32 bit: 42\nuser namespace: 0\n", "{done}");
    let about = session.say("uname -r; ls -d /dev/fuse /dev/net/tun; cat /proc/filesystems");
    // What Debian's kernel has in modules that are not in the initramfs.
    if about.lines().next().unwrap().ends_with("-postern") {
        for there in ["/dev/fuse", "/dev/net/tun", "\text4", "\tfuse", "overlay"] {
            assert!(about.contains(there), "{there} is not in {about}");
        }
    }
}

pub(crate) fn a_root_inside_finds_no_way_into_our_kernel(rig: &Rig) {
    let session = rig.shared();
    if !session.say("uname -r").ends_with("-postern") {
        // Debian's has modules, kcore and the rest.
        println!(
            "SKIPPED a_root_inside_finds_no_way_into_our_kernel: Debian's kernel runs here; \
             enable: make test-vm KERNEL=ours"
        );
        return;
    }
    for door in ["/proc/kcore", "/proc/modules", "/proc/sysrq-trigger", "/sys/kernel/debug/x"] {
        let found = session.say(&format!("test -e {door} && echo there || echo not there"));
        assert_eq!(found, "not there", "{door}");
    }
    // Made anew, these nodes open nothing: the kernel has no such device.
    for (name, major, minor) in [("mem", 1, 1), ("kmem", 1, 2), ("port", 1, 4)] {
        let line = format!(
            "mknod /tmp/{name} c {major} {minor} && dd if=/tmp/{name} of=/dev/null bs=1 count=1"
        );
        let done = session.sh(&line);
        assert!(done["exit_code"] != 0, "{name}: {done}");
        assert!(done["stderr"].as_str().unwrap().contains("No such device"), "{name}: {done}");
    }
}

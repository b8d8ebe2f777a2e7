//! From names and a profile to the sets of capabilities(7) that a process gets.

use caps::Capability;
use postern_proto::{Capabilities, CapabilityProfile, Code, Error, SpawnStage};

use crate::sys::process::{WITHHELD, known_capabilities};
use crate::sys::setup::CapabilitySets;

/// More names than there are capabilities say some twice.
const MAX_NAMES: usize = 256;

/// What containers commonly have: Docker's own list.
const RESTRICTED: [Capability; 14] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// The sets that were asked for, never more than the workload may have.
pub(super) fn sets(asked: &Capabilities) -> Result<CapabilitySets, Error> {
    if asked.add.len() + asked.drop.len() + asked.ambient.len() > MAX_NAMES {
        return Err(invalid(format!("there are more than {MAX_NAMES} names")));
    }
    let known = known_capabilities();
    let allowed = WITHHELD.iter().fold(known, |set, number| set & !(1 << number));
    let mut keep = allowed
        & match asked.profile {
            CapabilityProfile::Full => u64::MAX,
            CapabilityProfile::Restricted => RESTRICTED.iter().fold(0, |set, c| set | c.bitmask()),
            CapabilityProfile::None => 0,
        };
    for name in &asked.add {
        keep |= may_have(named(name)?, known, allowed)?;
    }
    for name in &asked.drop {
        keep &= !named(name)?.bitmask();
    }
    let mut ambient = 0;
    for name in &asked.ambient {
        let capability = named(name)?;
        may_have(capability, known, allowed)?;
        if keep & capability.bitmask() == 0 {
            return Err(invalid(format!("{capability} is not of the set and cannot be ambient")));
        }
        ambient |= capability.bitmask();
    }
    Ok(CapabilitySets { keep, ambient, last: known.checked_ilog2().unwrap_or(0) })
}

/// With or without `CAP_`, in any case.
fn named(name: &str) -> Result<Capability, Error> {
    caps::to_canonical(name)
        .parse()
        .map_err(|_| invalid(format!("{:?} is no capability", name.escape_default().to_string())))
}

fn may_have(capability: Capability, known: u64, allowed: u64) -> Result<u64, Error> {
    let bit = capability.bitmask();
    let why = match (known & bit, allowed & bit) {
        (0, _) => "this kernel does not have it",
        (_, 0) => "it is withheld from every command, since it reaches beyond the workload",
        _ => return Ok(bit),
    };
    Err(Error {
        field: Some("capabilities".to_owned()),
        ..Error::new(Code::PermissionDenied, format!("{capability}: {why}"))
            .with_stage(SpawnStage::Credentials)
    })
}

fn invalid(message: String) -> Error {
    Error::invalid("capabilities", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_set_is_profile_and_added_without_dropped() {
        let asked = Capabilities {
            profile: CapabilityProfile::Restricted,
            add: names(&["net_admin", "CAP_SYS_TIME"]),
            drop: names(&["cap_chown", "SYS_TIME", "sys_boot"]),
            ambient: names(&["Net_Admin"]),
        };
        let sets = sets(&asked).unwrap();
        let expected = RESTRICTED.iter().fold(0, |set, c| set | c.bitmask());
        let expected =
            (expected | Capability::CAP_NET_ADMIN.bitmask()) & !Capability::CAP_CHOWN.bitmask();
        assert_eq!(sets.keep, expected);
        assert_eq!(sets.ambient, Capability::CAP_NET_ADMIN.bitmask());
        assert!(sets.last >= 37 && sets.last < 64, "{}", sets.last);
    }

    #[test]
    fn nobody_gets_what_is_withheld() {
        let full = Capabilities::default();
        let boot = Capability::CAP_SYS_BOOT.bitmask();
        assert_eq!(sets(&full).unwrap().keep & boot, 0);
        let asked = Capabilities { add: names(&["SYS_BOOT"]), ..full };
        let error = sets(&asked).unwrap_err();
        assert_eq!(
            (error.code, error.field.as_deref()),
            (Code::PermissionDenied, Some("capabilities"))
        );
        assert!(error.message.contains("CAP_SYS_BOOT"), "{error}");
    }

    #[test]
    fn a_name_that_is_none_is_named() {
        for list in ["add", "drop", "ambient"] {
            let mut asked = Capabilities::default();
            let place = match list {
                "add" => &mut asked.add,
                "drop" => &mut asked.drop,
                _ => &mut asked.ambient,
            };
            place.push("net_\u{1b}[2J".to_owned());
            let error = sets(&asked).unwrap_err();
            assert_eq!(
                (error.code, error.field.as_deref()),
                (Code::InvalidArgument, Some("capabilities"))
            );
            assert!(!error.message.contains('\u{1b}'), "{error}");
        }
        let asked = Capabilities {
            profile: CapabilityProfile::None,
            ambient: names(&["kill"]),
            ..Capabilities::default()
        };
        assert_eq!(sets(&asked).unwrap_err().code, Code::InvalidArgument);
    }
}

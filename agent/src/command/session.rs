//! The image as commands see it: root, users, defaults.

use std::cell::RefCell;

use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use postern_proto::{Configure, EnvVar, Exec, ImageConfig};

use crate::files::{Root, User, UserError};
use crate::image::config::{Defaults, Var};

/// The workload's root and what its commands inherit.
#[derive(Debug)]
pub struct Session {
    /// The workload's `/`.
    pub root: Root,
    /// From the image's configuration.
    pub image: Defaults,
    env: Vec<EnvVar>,
    /// No command gets more rights by a program's setuid bit or capabilities.
    pub no_new_privs: bool,
    /// The last user that was looked up, with what the files looked like then.
    cached: RefCell<Option<Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    spec: String,
    user: User,
    stamp: Stamp,
}

/// Inode, size and change time of passwd and group.
type Stamp = [(u64, i64, i64, i64); 2];

/// None unless both are plain files below a plain /etc: only then two equal
/// stamps mean that nothing has changed.
fn stamp(root: &Root) -> Option<Stamp> {
    let look = |path: &str| {
        let stat = fstatat(root, path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let plain = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        plain.then_some((stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec))
    };
    let etc = fstatat(root, "etc", AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    let plain = SFlag::from_bits_truncate(etc.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    plain.then_some([look("etc/passwd")?, look("etc/group")?])
}

impl Session {
    /// Of a committed image, with the session's own settings.
    pub fn new(root: Root, config: &ImageConfig, settings: &Configure) -> Self {
        Self::of(root, Defaults::from(config), settings)
    }

    /// The same with other settings of the session's.
    pub fn with_settings(&self, settings: &Configure) -> std::io::Result<Self> {
        Ok(Self::of(self.root.try_clone()?, self.image.clone(), settings))
    }

    fn of(root: Root, image: Defaults, settings: &Configure) -> Self {
        let env = settings.env.clone();
        let no_new_privs = settings.no_new_privs;
        Self { root, image, env, no_new_privs, cached: RefCell::default() }
    }

    /// The user as the image's own files have it now.
    pub fn user(&self, spec: &str) -> Result<User, UserError> {
        let stamp = stamp(&self.root);
        if let Some(cached) = self.cached.borrow().as_ref()
            && cached.spec == spec
            && Some(cached.stamp) == stamp
        {
            return Ok(cached.user.clone());
        }
        let user = User::resolve(&self.root, spec)?;
        let entry = |stamp| Cached { spec: spec.to_owned(), user: user.clone(), stamp };
        self.cached.replace(stamp.map(entry));
        Ok(user)
    }

    /// That user, or the image's own where none is named.
    pub fn user_or_default(&self, spec: &str) -> Result<User, UserError> {
        self.user(if spec.is_empty() { &self.image.user } else { spec })
    }

    /// Image, session and command merged, the later over the earlier.
    pub fn environment(&self, exec: &Exec, user: &User) -> Vec<Var> {
        self.image.merge_env(&self.env, &exec.env, user)
    }
}

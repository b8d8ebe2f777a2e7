//! How a broker is to be.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use postern_proto::Code;

use super::broker::{Inner, Sessions, drivers};
use super::shared::SharedRoots;
use super::{Broker, DriverChoice, Error, ImageTransfer, Limits, RegistryOptions, Result};
use crate::arch::GuestArch;
use crate::driver::{Files, Wanted};
use crate::image::{Images, Registries};
use crate::store::Store;

/// sockaddr_un holds 108 bytes with the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// What is put below the data directory: `sessions/`, an id, a socket's name.
const BELOW_DATA_DIR: usize = "/sessions/".len() + 31 + "/vm.vsock_1001".len();

/// Room for some dozens of images as people use them.
const DEFAULT_IMAGE_STORE_BYTES: u64 = 16 << 30;

/// Likewise, of images that are unpacked.
const DEFAULT_UNPACKED_BYTES: u64 = 16 << 30;

/// How a broker is to be; everything has a default.
#[derive(Debug, Clone, Default)]
pub struct BrokerBuilder {
    data_dir: Option<PathBuf>,
    images_dir: Option<PathBuf>,
    default_image: Option<String>,
    image_store: Option<PathBuf>,
    image_store_bytes: Option<u64>,
    registries: RegistryOptions,
    image_transfer: ImageTransfer,
    driver: DriverChoice,
    arch: GuestArch,
    wanted: Wanted,
    limits: Limits,
    no_store: bool,
    no_sharing: bool,
    unpacked_bytes: Option<u64>,
}

impl BrokerBuilder {
    /// The store, sockets, consoles, what was found out about this host. One
    /// broker at a time has it. Default: `postern` below /run for root, below
    /// `$XDG_RUNTIME_DIR` or /tmp for others.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Where image names are looked up; default: `images` beside the executable
    /// or in /usr/lib/postern.
    #[must_use]
    pub fn images_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.images_dir = Some(dir.into());
        self
    }

    /// For sessions that name none; default: `debian`.
    #[must_use]
    pub fn default_image(mut self, image: impl Into<String>) -> Self {
        self.default_image = Some(image.into());
        self
    }

    /// Where images of registries and archives are kept, by no other broker;
    /// default: `images` in a data directory that was given. Without one it is
    /// /var/lib/postern/images for root, `postern/images` in `$XDG_DATA_HOME` or
    /// ~/.local/share for others: the default data directory is memory, as a rule.
    #[must_use]
    pub fn image_store(mut self, dir: impl Into<PathBuf>) -> Self {
        self.image_store = Some(dir.into());
        self
    }

    /// The most bytes of them; images that were not used for the longest time
    /// make room. Default: 16 GiB.
    #[must_use]
    pub fn image_store_bytes(mut self, bytes: u64) -> Self {
        self.image_store_bytes = Some(bytes);
        self
    }

    /// Mirrors and logins.
    #[must_use]
    pub fn registries(mut self, options: RegistryOptions) -> Self {
        self.registries = options;
        self
    }

    /// How layers reach microVMs of ours; default: on a disk. Process sandboxes and
    /// attached machines have no disks, and always get streams.
    #[must_use]
    pub fn image_transfer(mut self, transfer: ImageTransfer) -> Self {
        self.image_transfer = transfer;
        self
    }

    /// For sessions that name none.
    #[must_use]
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.driver = driver;
        self
    }

    /// `postern-agent`; default: beside the executable, in a build's `dist`,
    /// then in /usr/lib/postern.
    #[must_use]
    pub fn agent(mut self, path: impl Into<PathBuf>) -> Self {
        self.wanted.agent = Some(path.into());
        self
    }

    /// What this broker's microVMs are, and what images are for; default: as this
    /// host. Another one is emulated, has its name in the names of kernel and
    /// initramfs (`vmlinuz-aarch64`), and leaves no `process` driver.
    #[must_use]
    pub fn guest_arch(mut self, arch: GuestArch) -> Self {
        self.arch = arch;
        self
    }

    /// `vmlinuz`; likewise.
    #[must_use]
    pub fn kernel(mut self, path: impl Into<PathBuf>) -> Self {
        self.wanted.kernel = Some(path.into());
        self
    }

    /// `initramfs.img`; likewise.
    #[must_use]
    pub fn initramfs(mut self, path: impl Into<PathBuf>) -> Self {
        self.wanted.initramfs = Some(path.into());
        self
    }

    /// The operator's bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Every session has its image to itself, also where the driver could lay it
    /// over one that is unpacked once for all.
    #[must_use]
    pub fn without_sharing(mut self) -> Self {
        self.no_sharing = true;
        self
    }

    /// The most bytes of images that are unpacked to be shared, but for those that
    /// are in use; default: 16 GiB.
    #[must_use]
    pub fn unpacked_bytes(mut self, bytes: u64) -> Self {
        self.unpacked_bytes = Some(bytes);
        self
    }

    /// Nothing is kept for a broker after this one, and nothing of one before it
    /// taken over: for a broker whose sandboxes end with it, in a directory that
    /// nobody else uses.
    #[must_use]
    pub fn without_store(mut self) -> Self {
        self.no_store = true;
        self
    }

    /// Makes the broker, and takes over what an earlier one with this data
    /// directory left running; refused while that one runs. What only one driver
    /// needs is looked for when a session asks for it.
    pub async fn build(self) -> Result<Broker> {
        let images = match (&self.data_dir, self.image_store) {
            (_, Some(given)) => Some(given),
            (Some(_), None) => None,
            (None, None) => {
                let root = nix::unistd::geteuid().is_root();
                default_image_store(root, |name| std::env::var_os(name).map(PathBuf::from))
            }
        };
        let data_dir = self.data_dir.unwrap_or_else(default_data_dir);
        let (no_store, arch) = (self.no_store, self.arch);
        let max_bytes = self.image_store_bytes.unwrap_or(DEFAULT_IMAGE_STORE_BYTES);
        let shares = !(no_store || self.no_sharing);
        let unpacked_bytes = self.unpacked_bytes.unwrap_or(DEFAULT_UNPACKED_BYTES);
        let registries =
            Registries::new(self.registries).map_err(|text| Error::invalid("registries", text))?;
        let prepared = tokio::task::spawn_blocking(move || {
            let dir = prepare(&data_dir)?;
            let store = if no_store { Store::in_memory() } else { Store::open(&dir) }?;
            let images = images.unwrap_or_else(|| dir.join("images"));
            let unpacked = images.join("unpacked");
            let images = Images::open(images, store.clone(), registries, max_bytes, arch)?;
            let shared = shares.then(|| SharedRoots::open(unpacked, unpacked_bytes)).transpose()?;
            Ok::<_, Error>((dir, store, images, shared))
        });
        let (data_dir, store, images, shared) = prepared.await.map_err(|e| {
            Error::new(Code::Internal, "the data directory could not be prepared").with_source(e)
        })??;
        let files = Files::new(self.wanted, arch);
        let images_dir = self.images_dir.or_else(|| files.images());
        let (process, qemu) = drivers(&files, &data_dir);
        let inner = Inner {
            data_dir,
            images_dir: images_dir.unwrap_or_else(|| "/usr/lib/postern/images".into()),
            images,
            default_image: self.default_image.unwrap_or_else(|| "debian".to_owned()),
            image_transfer: self.image_transfer,
            driver: self.driver,
            arch,
            limits: self.limits,
            process,
            qemu,
            shared,
            store,
            sessions: Mutex::new(Sessions::default()),
        };
        Broker::new(inner).await
    }
}

/// Makes the directory, and checks that sockets in it have names short enough.
fn prepare(dir: &Path) -> Result<PathBuf> {
    let shown = dir.display();
    let io = |e: std::io::Error| {
        let message = format!("the data directory {shown} cannot be made or entered");
        Error::new(Code::FailedPrecondition, message).with_source(e)
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let dir = dir.canonicalize().map_err(io)?;
    let len = dir.as_os_str().len();
    if len + BELOW_DATA_DIR > MAX_SOCKET_PATH {
        let most = MAX_SOCKET_PATH - BELOW_DATA_DIR;
        let message = format!(
            "the data directory {} has a path of {len} bytes; sockets in it allow {most}",
            dir.display()
        );
        return Err(Error::invalid("data_dir", message));
    }
    Ok(dir)
}

/// On a disk; None where nobody knows of one.
fn default_image_store(root: bool, env: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some("/var/lib/postern/images".into());
    }
    let absolute = |name: &str| env(name).filter(|dir| dir.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    data.map(|dir| dir.join("postern/images"))
}

fn default_data_dir() -> PathBuf {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return "/run/postern".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) => Path::new(&dir).join("postern"),
        None => std::env::temp_dir().join(format!("postern-{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_kept_on_a_disk_where_nobody_says_otherwise() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, dir)| PathBuf::from(dir))
            }
        };
        let store = |root, set| default_image_store(root, env(set));
        let path = |text: &str| Some(PathBuf::from(text));
        let home: &[_] = &[("HOME", "/home/u")];
        assert_eq!(store(true, home), path("/var/lib/postern/images"));
        assert_eq!(store(false, home), path("/home/u/.local/share/postern/images"));
        let both: &[_] = &[("XDG_DATA_HOME", "/data"), ("HOME", "/home/u")];
        assert_eq!(store(false, both), path("/data/postern/images"));
        let relative: &[_] = &[("XDG_DATA_HOME", "data"), ("HOME", "/home/u")];
        assert_eq!(store(false, relative), path("/home/u/.local/share/postern/images"));
        assert_eq!(store(false, &[]), None);
    }
}

//! The daemon's settings: a file in TOML, and flags that win over it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use postern_broker::core::{Broker, BrokerBuilder, DriverChoice, ImageTransfer, RegistryOptions};
use serde::Deserialize;

use crate::args::{Driver, OnShutdown, Serve, values};
use crate::error::Error;

/// Everything is optional; what is not known is refused, since a misspelt
/// setting would be ignored in silence.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) driver: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) images: Option<PathBuf>,
    pub(crate) default_image: Option<String>,
    #[serde(default)]
    pub(crate) allow_anonymous: bool,
    pub(crate) on_shutdown: Option<OnShutdown>,
    /// Where pulled images are kept; default: in a data directory that is given, else
    /// in /var/lib/postern or the user's own place for data.
    pub(crate) image_store: Option<PathBuf>,
    /// At most so much of them: `10g`.
    pub(crate) image_store_size: Option<String>,
    /// Process sandboxes of one image lie over one unpacked copy of it; default: true.
    pub(crate) share_images: Option<bool>,
    /// At most so much of such copies, those in use aside: `10g`.
    pub(crate) unpacked_size: Option<String>,
    /// How layers reach microVMs: `stream` or `disk`; default: `disk`.
    pub(crate) image_transfer: Option<String>,
    /// By a registry's name, the URL of a mirror: `"docker.io" = "http://10.0.0.1:5000"`.
    #[serde(default)]
    pub(crate) mirrors: BTreeMap<String, String>,
    /// Docker's `config.json`; default: where docker has it.
    pub(crate) docker_config: Option<PathBuf>,
    /// `postern-agent`.
    pub(crate) agent: Option<PathBuf>,
    /// `x86_64` or `aarch64`; default: as this host.
    pub(crate) guest_arch: Option<String>,
    /// `vmlinuz`.
    pub(crate) kernel: Option<PathBuf>,
    /// `initramfs.img`.
    pub(crate) initramfs: Option<PathBuf>,
}

impl Config {
    /// The file, if one is given, with the flags over it.
    pub(crate) fn load(flags: Serve) -> Result<Self, Error> {
        let file = flags.config.as_deref().map(Self::read).transpose()?.unwrap_or_default();
        Ok(Self {
            listen: flags.listen.or(file.listen),
            driver: flags.driver.map(|driver| driver.as_str().to_owned()).or(file.driver),
            data_dir: flags.data_dir.or(file.data_dir),
            images: flags.images.or(file.images),
            default_image: flags.default_image.or(file.default_image),
            allow_anonymous: flags.allow_anonymous || file.allow_anonymous,
            on_shutdown: flags.on_shutdown.or(file.on_shutdown),
            ..file
        })
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(Error::io(format!("reading the settings in {}", path.display())))?;
        toml::from_str(&text)
            .map_err(|e| Error::usage(format!("the settings in {}: {e}", path.display())))
    }

    /// A broker with these settings.
    pub(crate) fn builder(&self) -> Result<BrokerBuilder, Error> {
        let mut builder = Broker::builder().driver(self.driver_choice()?);
        if let Some(dir) = &self.data_dir {
            builder = builder.data_dir(dir);
        }
        if let Some(dir) = &self.images {
            builder = builder.images_dir(dir);
        }
        if let Some(image) = &self.default_image {
            builder = builder.default_image(image);
        }
        if let Some(dir) = &self.image_store {
            builder = builder.image_store(dir);
        }
        if let Some(bytes) = bytes("image_store_size", self.image_store_size.as_deref())? {
            builder = builder.image_store_bytes(bytes);
        }
        if let Some(bytes) = bytes("unpacked_size", self.unpacked_size.as_deref())? {
            builder = builder.unpacked_bytes(bytes);
        }
        if self.share_images == Some(false) {
            builder = builder.without_sharing();
        }
        if let Some(transfer) = self.image_transfer()? {
            builder = builder.image_transfer(transfer);
        }
        builder = builder.registries(RegistryOptions {
            mirrors: self.mirrors.clone().into_iter().collect(),
            docker_config: self.docker_config.clone(),
        });
        if let Some(path) = &self.agent {
            builder = builder.agent(path);
        }
        if let Some(name) = &self.guest_arch {
            let arch = name.parse().map_err(|e| Error::usage(format!("guest_arch: {e}")))?;
            builder = builder.guest_arch(arch);
        }
        if let Some(path) = &self.kernel {
            builder = builder.kernel(path);
        }
        if let Some(path) = &self.initramfs {
            builder = builder.initramfs(path);
        }
        Ok(builder)
    }

    fn image_transfer(&self) -> Result<Option<ImageTransfer>, Error> {
        match self.image_transfer.as_deref() {
            None => Ok(None),
            Some("stream") => Ok(Some(ImageTransfer::Stream)),
            Some("disk") => Ok(Some(ImageTransfer::Disk)),
            Some(other) => {
                Err(Error::usage(format!("image_transfer must be stream or disk, not {other}")))
            }
        }
    }

    fn driver_choice(&self) -> Result<DriverChoice, Error> {
        match self.driver.as_deref() {
            None => Ok(DriverChoice::Auto),
            Some(name) if name == Driver::Auto.as_str() => Ok(DriverChoice::Auto),
            Some(name) if name == Driver::Qemu.as_str() => Ok(DriverChoice::Qemu),
            Some(name) if name == Driver::Process.as_str() => Ok(DriverChoice::Process),
            Some(other) => {
                Err(Error::usage(format!("driver must be auto, qemu or process, not {other}")))
            }
        }
    }
}

fn bytes(setting: &str, text: Option<&str>) -> Result<Option<u64>, Error> {
    let wrong = |e| Error::usage(format!("{setting}: {e}"));
    text.map(values::bytes).transpose().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(text: &str, flags: Serve) -> Result<Config, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(Serve { config: Some(file.path().to_owned()), ..flags })
    }

    #[test]
    fn flags_win() {
        let flags = Serve { driver: Some(Driver::Process), ..Serve::default() };
        let config =
            load("driver = \"qemu\"\nlisten = \"127.0.0.1:1\"\nagent = \"/a\"", flags).unwrap();
        assert_eq!(config.driver_choice().unwrap(), DriverChoice::Process);
        assert_eq!(config.listen.unwrap().port(), 1);
        assert_eq!(config.agent.as_deref(), Some(Path::new("/a")));
        assert!(!config.allow_anonymous);
        let flags = Serve { on_shutdown: Some(OnShutdown::End), ..Serve::default() };
        assert_eq!(
            load("on_shutdown = \"leave\"", flags).unwrap().on_shutdown,
            Some(OnShutdown::End)
        );
        let config = load("on_shutdown = \"leave\"", Serve::default()).unwrap();
        assert_eq!(config.on_shutdown, Some(OnShutdown::Leave));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(
            load("drivr = \"qemu\"", Serve::default()).unwrap_err().to_string().contains("drivr")
        );
        assert!(load("driver = \"kvm\"", Serve::default()).unwrap().builder().is_err());
        let wrong = load("on_shutdown = \"stay\"", Serve::default()).unwrap_err().to_string();
        assert!(wrong.contains("on_shutdown"), "{wrong}");
        let wrong = load("guest_arch = \"arm\"", Serve::default()).unwrap();
        assert!(wrong.builder().unwrap_err().to_string().contains("guest_arch"));
        for setting in ["image_store_size", "unpacked_size", "image_transfer"] {
            let wrong = load(&format!("{setting} = \"much\""), Serve::default()).unwrap();
            assert!(wrong.builder().unwrap_err().to_string().contains(setting));
        }
        let right = load("image_transfer = \"disk\"", Serve::default()).unwrap();
        assert_eq!(right.image_transfer().unwrap(), Some(ImageTransfer::Disk));
        let missing = Serve { config: Some("/nonexistent".into()), ..Serve::default() };
        assert!(Config::load(missing).is_err());
    }
}

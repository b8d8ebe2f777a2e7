//! What measurements are run on: programs, an image, agents, brokers, and
//! clients that add as little as can be.

pub(crate) mod agent;
pub(crate) mod broker;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod link;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod programs;
pub(crate) mod vm;
pub(crate) mod wait;

use std::io;
use std::path::{Path, PathBuf};

use programs::Programs;
use tempfile::TempDir;

use crate::options::Options;

/// Everything is measured on a tmpfs: a disk would only add its own noise.
const TMPFS: &str = "/dev/shm";

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) quick: bool,
    pub(crate) dist: PathBuf,
    pub(crate) programs: Programs,
    /// An OCI layout with the programs in it, and a folder of images around it.
    pub(crate) image: PathBuf,
    pub(crate) images: PathBuf,
    agent: Option<PathBuf>,
    tmp: TempDir,
}

impl Rig {
    pub(crate) fn prepare(options: &Options) -> io::Result<Self> {
        let tmp = tempfile::Builder::new().prefix("postern-bench-").tempdir_in(TMPFS)?;
        let programs = Programs::compile(tmp.path())?;
        let images = tmp.path().join("images");
        let image = images.join("bench");
        image::write(&image, &programs)?;
        Ok(Self {
            quick: options.quick,
            dist: std::path::absolute(&options.dist)?,
            programs,
            image,
            images,
            agent: options.agent.clone(),
            tmp,
        })
    }

    /// `full`, or less of it for a quick look.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(3) } else { full }
    }

    /// Bytes of a bulk transfer.
    pub(crate) fn bulk(&self) -> u64 {
        if self.quick { 256 << 20 } else { 1 << 30 }
    }

    pub(crate) fn agent(&self) -> io::Result<PathBuf> {
        match &self.agent {
            Some(path) => std::path::absolute(path),
            None => self.shipped("postern-agent"),
        }
    }

    /// Something that `make dist` makes.
    pub(crate) fn shipped(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dist.join(name);
        if path.exists() {
            Ok(path)
        } else {
            Err(io::Error::other(format!("{} is missing: make dist", path.display())))
        }
    }

    pub(crate) fn tmp(&self) -> &Path {
        self.tmp.path()
    }

    /// A new directory on the tmpfs; gone when it is dropped.
    pub(crate) fn dir(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix("d").tempdir_in(self.tmp.path())
    }
}

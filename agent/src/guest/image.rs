//! The image on its way into the workload's root.
//!
//! ```text
//! Empty ──PrepareImage──► Receiving ──CommitImage──► Ready
//!                             └──a layer fails──► Failed
//! ```
//!
//! Layers come over streams of their own, in threads, so this is behind a lock.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postern_proto::limits::MAX_CONTROL_FRAME;
use postern_proto::{Code, Configure, Error, ImageConfig, Layer, LayerDone, Request, take_frame};

use crate::files::Root;
use crate::image::{Limits, Unpacker, make_working_dir};

/// The workload's init mounts a handful of file systems.
const WORKLOAD_DEADLINE: Duration = Duration::from_secs(30);

/// What it answers is one line.
const MAX_ANSWER: u64 = 4 << 10;

/// Layers of one image; the field's own tools stop at 127.
const MAX_LAYERS: u32 = 512;

const IMAGE_FILE: &str = "image";
const CONFIGURE_FILE: &str = "configure";

#[derive(Debug)]
enum Stage {
    Empty,
    /// So many layers are to come; the threads that apply them have the unpacker too.
    Receiving(Arc<Unpacker>, u32),
    /// The workload's init is making the root its own.
    Committing,
    Ready,
    Failed(String),
}

/// The root and how far it is.
#[derive(Debug)]
pub struct ImageStore {
    root: OwnedFd,
    workload: UnixStream,
    memory: PathBuf,
    stage: Mutex<Stage>,
}

fn precondition(message: impl Into<String>) -> Error {
    Error::new(Code::FailedPrecondition, message)
}

fn internal(doing: &str, e: &io::Error) -> Error {
    Error::new(Code::Internal, format!("{doing}: {e}")).with_errno(e.raw_os_error().unwrap_or(0))
}

impl ImageStore {
    pub(in crate::guest) fn new(root: OwnedFd, workload: UnixStream, memory: PathBuf) -> Self {
        Self { root, workload, memory, stage: Mutex::new(Stage::Empty) }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The workload's root, for whoever works in it.
    pub fn root(&self) -> io::Result<Root> {
        Ok(Root::from_fd(self.root.try_clone()?))
    }

    /// Layers will come.
    pub fn prepare(&self, layers: u32) -> Result<(), Error> {
        let mut stage = self.stage();
        match &*stage {
            Stage::Empty => {}
            Stage::Failed(why) => return Err(precondition(format!("the image failed: {why}"))),
            _ => return Err(precondition("there is an image already")),
        }
        if layers > MAX_LAYERS {
            return Err(Error::invalid("layers", format!("the cap is {MAX_LAYERS}")));
        }
        let root = self.root().map_err(|e| internal("opening the root", &e))?;
        let unpacker = Arc::new(Unpacker::new(root, Limits::default()));
        *stage = Stage::Receiving(unpacker, layers);
        Ok(())
    }

    /// Applies one layer when its turn comes. Blocks for as long as that takes.
    pub fn apply(&self, layer: &Layer, blob: &mut dyn Read) -> Result<LayerDone, Error> {
        let unpacker = self.receiving(layer.index)?;
        let result = unpacker.apply(layer, blob).map_err(Error::from);
        if let Err(e) = &result
            && unpacker.is_poisoned()
        {
            self.fail(format!("layer {}: {e}", layer.index));
        }
        result
    }

    fn receiving(&self, index: u32) -> Result<Arc<Unpacker>, Error> {
        let message = match &*self.stage() {
            Stage::Receiving(unpacker, layers) if index < *layers => {
                return Ok(Arc::clone(unpacker));
            }
            Stage::Receiving(_, layers) => format!("there are {layers} layers, and no {index}"),
            Stage::Empty => "PrepareImage comes first".to_owned(),
            Stage::Committing | Stage::Ready => "the image is complete".to_owned(),
            Stage::Failed(why) => format!("the image failed: {why}"),
        };
        Err(precondition(message))
    }

    /// The first failure is the one to tell: others follow from it.
    fn fail(&self, why: String) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Failed(_)) {
            *stage = Stage::Failed(why);
        }
    }

    /// Every layer is in: the workload's init makes the root its own.
    pub fn commit(&self, config: &ImageConfig) -> Result<(), Error> {
        let unpacker = self.begin_commit()?;
        let result = unpacker.finish().map_err(Error::from);
        let result = result.and_then(|_| self.make_working_dir(config));
        if let Err(e) = result.and_then(|()| self.enter_root()) {
            *self.stage() = Stage::Failed(e.to_string());
            return Err(e);
        }
        self.remember(IMAGE_FILE, &Request::CommitImage(config.clone()));
        *self.stage() = Stage::Ready;
        Ok(())
    }

    fn begin_commit(&self) -> Result<Arc<Unpacker>, Error> {
        let mut stage = self.stage();
        let unpacker = match &*stage {
            Stage::Receiving(unpacker, layers) if unpacker.layers() == *layers => {
                Arc::clone(unpacker)
            }
            Stage::Receiving(unpacker, layers) => {
                let there = unpacker.layers();
                return Err(precondition(format!("{there} of {layers} layers are there")));
            }
            Stage::Failed(why) => return Err(precondition(format!("the image failed: {why}"))),
            _ => return Err(precondition("there is no image to commit")),
        };
        *stage = Stage::Committing;
        Ok(unpacker)
    }

    fn make_working_dir(&self, config: &ImageConfig) -> Result<(), Error> {
        let root = self.root().map_err(|e| internal("opening the root", &e))?;
        make_working_dir(&root, &config.working_dir)
    }

    /// Asks the workload's init to mount and enter the root.
    fn enter_root(&self) -> Result<(), Error> {
        let doing = "telling the workload's init that its root is there";
        let ask = || -> io::Result<String> {
            self.workload.set_read_timeout(Some(WORKLOAD_DEADLINE))?;
            (&self.workload).write_all(b"\n")?;
            let mut answer = String::new();
            BufReader::new((&self.workload).take(MAX_ANSWER)).read_line(&mut answer)?;
            Ok(answer)
        };
        match ask().map_err(|e| internal(doing, &e))?.trim_end() {
            "ok" => Ok(()),
            "" => Err(Error::new(Code::Internal, "the workload's init is gone")),
            why => Err(precondition(format!("the image cannot be a root: {why}"))),
        }
    }

    /// For a serving process after this one.
    pub fn remember_configure(&self, configure: &Configure) {
        self.remember(CONFIGURE_FILE, &Request::Configure(configure.clone()));
    }

    pub(in crate::guest) fn remembered_configure(&self) -> Option<Configure> {
        match self.recall(CONFIGURE_FILE)? {
            Request::Configure(configure) => Some(configure),
            _ => None,
        }
    }

    /// The image of a serving process before this one.
    pub(in crate::guest) fn remembered_image(&self) -> Option<ImageConfig> {
        match self.recall(IMAGE_FILE)? {
            Request::CommitImage(config) => {
                *self.stage() = Stage::Ready;
                Some(config)
            }
            _ => None,
        }
    }

    fn remember(&self, name: &str, what: &Request) {
        let mut frame = BytesMut::new();
        // Not having it is noticed only after a crash, and then as a missing image.
        if what.encode(0, &mut frame).is_ok() {
            let _ = std::fs::write(self.memory.join(name), &frame);
        }
    }

    fn recall(&self, name: &str) -> Option<Request> {
        let mut bytes = Vec::new();
        let limit = MAX_CONTROL_FRAME as u64 + 4;
        std::fs::File::open(self.memory.join(name))
            .ok()?
            .take(limit)
            .read_to_end(&mut bytes)
            .ok()?;
        let mut buf = BytesMut::from(Bytes::from(bytes));
        let frame = take_frame(&mut buf, MAX_CONTROL_FRAME).ok()??;
        Request::decode(frame).ok().map(|(_, request)| request)
    }
}

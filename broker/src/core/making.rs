//! How a session comes: from nothing to one that takes commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{Code, Configure, EnvVar};
use tokio::time::Instant;

use super::entrypoint::Entrypoint;
use super::lifecycle::{Home, KILL_DEADLINE, watch_over};
use super::shared::SharedRoots;
use super::{
    BootFigures, CreateSession, Error, Limits, Progress, ProgressSender, Result, Session,
    SessionStatus, saved,
};
use crate::driver::{self, Driver, IMAGE_SERIAL, Sandbox, SandboxRoot, SandboxSpec};
use crate::guest::{ConnectOptions, Guest, GuestError};
use crate::image::{self, ImageDisk, Layout};

/// How much of a console goes into an error's cause.
const CONSOLE_IN_ERROR: usize = 4 << 10;

/// A session that is to be made ready.
pub(super) struct Making<'a> {
    pub(super) session: &'a Session,
    pub(super) driver: Arc<dyn Driver>,
    /// Layers reach the sandbox on a disk, and not by streams.
    pub(super) by_disk: bool,
    pub(super) spec: SandboxSpec,
    /// None: what is in the sandbox stays.
    pub(super) image: Option<Layout>,
    pub(super) request: &'a CreateSession,
    /// None: no command is started.
    pub(super) entrypoint: Option<Entrypoint>,
    pub(super) progress: Option<&'a ProgressSender>,
    pub(super) limits: &'a Limits,
    /// None: nothing is shared.
    pub(super) shared: Option<&'a SharedRoots>,
    pub(super) home: Home,
}

/// A sandbox that may or may not come up.
struct Started {
    sandbox: Arc<dyn Sandbox>,
    disk: Option<ImageDisk>,
    /// What it took to lay the image out.
    at_hand: Duration,
}

impl Making<'_> {
    /// From nothing to a session that takes commands.
    pub(super) async fn make(mut self) -> Result<()> {
        let begun = Instant::now();
        self.share_root().await?;
        self.tell(Progress::Booting);
        let mut started = self.start(begun).await?;
        let mut guest = self.meet(&*started.sandbox).await;
        match guest {
            Err(e) if (e.is_link_trouble() || e.is_silence()) && started.sandbox.is_ours() => {
                self.clear_away(started, e).await?;
                started = self.start(begun).await?;
                guest = self.meet(&*started.sandbox).await;
            }
            _ => {}
        }
        let Started { sandbox, disk, at_hand } = started;
        let figures = tokio::select! {
            figures = self.fill(guest, &*sandbox, disk.as_ref(), begun) => figures,
            why = sandbox.ended() => Err(ended_early(&why)),
        };
        let figures = match figures {
            Ok(figures) => figures,
            Err(error) => return Err(self.with_console(error, &*sandbox).await),
        };
        let figures = of_the_image(figures, at_hand);
        self.session.set_boot(figures);
        let ready = saved::ready_text(&figures, self.session.info().entrypoint_command_id);
        self.home.store.set_ready(self.session.id(), ready).await?;
        if !self.session.advance(&[SessionStatus::Starting], SessionStatus::Running) {
            return Err(unwanted());
        }
        self.tell(Progress::Ready);
        tokio::spawn(watch_over(self.session.clone(), sandbox, self.home.clone()));
        Ok(())
    }

    async fn start(&mut self, begun: Instant) -> Result<Started> {
        make_dir(&self.spec.dir)?;
        let disk = self.image_disk().await?;
        self.spec.image_disk = disk.as_ref().map(|disk| disk.path.clone());
        let at_hand = begun.elapsed();
        let sandbox: Arc<dyn Sandbox> = self.driver.create(&self.spec).await?.into();
        self.session.set_sandbox(sandbox.clone());
        // Noted before it is waited for: a broker that is killed from here on
        // leaves nothing behind that the next one cannot find.
        let record = saved::json(&*sandbox.records().borrow());
        self.home.store.set_sandbox(self.session.id(), record).await?;
        Ok(Started { sandbox, disk, at_hand })
    }

    /// The agent's first answer.
    async fn meet(&self, sandbox: &dyn Sandbox) -> Result<Guest, GuestError> {
        let options = ConnectOptions {
            deadline: self.limits.boot_deadline,
            hint: sandbox.doorbell(),
            epoch: Some(self.home.store.epoch()),
        };
        tokio::select! {
            guest = Guest::connect(sandbox.dial(), options) => guest,
            why = sandbox.ended() => Err(GuestError::Ended(why)),
        }
    }

    /// Under TCG one boot in some hundreds stands still before the kernel has said a
    /// word. One that was silent for all its time is made room of for another.
    async fn clear_away(&self, started: Started, why: GuestError) -> Result<()> {
        let session = self.session.id();
        // Its console goes with it.
        let error = self.with_console(why.into(), &*started.sandbox).await;
        let error = error.private();
        tracing::warn!(session, error, "a sandbox gave no sign of life, and another is made");
        started.sandbox.kill(KILL_DEADLINE).await;
        drop(started);
        let dir = self.spec.dir.clone();
        let removing = tokio::task::spawn_blocking(move || driver::remove_dir(&dir)).await;
        removing.map_err(std::io::Error::other).flatten().map_err(|e| {
            let message = "a sandbox that gave no sign of life could not be cleared away";
            Error::new(Code::Internal, message).with_source(e)
        })?;
        self.is_still_wanted()
    }

    /// Whoever ended the session meanwhile had no sandbox to end.
    fn is_still_wanted(&self) -> Result<()> {
        if self.session.status() == SessionStatus::Starting {
            return Ok(());
        }
        Err(unwanted())
    }

    /// From a started sandbox to a root with commands in it.
    async fn fill(
        &self,
        guest: Result<Guest, GuestError>,
        sandbox: &dyn Sandbox,
        disk: Option<&ImageDisk>,
        begun: Instant,
    ) -> Result<BootFigures> {
        let guest = match guest {
            Err(GuestError::Ended(why)) => return Err(ended_early(&why)),
            guest => guest?,
        };
        self.session.set_guest(guest.clone());
        let answered = begun.elapsed();
        let hostname = if sandbox.is_ours() { self.spec.hostname.clone() } else { String::new() };
        let env = self.request.env.iter().map(|(n, v)| EnvVar::new(n.clone(), v.clone())).collect();
        let no_new_privs = self.request.no_new_privs;
        guest.configure(Configure { hostname, env, no_new_privs }).await?;
        self.put_image(&guest, disk).await?;
        let filled = begun.elapsed();
        if let Some(disk) = disk {
            disk.empty();
        }
        let info = guest.info().await?;
        if !info.image_ready {
            return Err(Error::new(Code::FailedPrecondition, "the sandbox has no image; name one"));
        }
        if let Some(entrypoint) = &self.entrypoint {
            let command = entrypoint.start(self.session, &guest).await?;
            self.session.set_entrypoint(Some(command));
        }
        Ok(BootFigures {
            sandbox: answered,
            image: filled.saturating_sub(answered),
            total: begun.elapsed(),
            init_start_us: info.init_start_us,
            agent_ready_us: info.ready_us,
            accelerator: sandbox.accelerator(),
        })
    }

    /// Where the driver can, the root lies over an image that is unpacked once for
    /// all; what cannot be shared is unpacked for this session alone.
    async fn share_root(&mut self) -> Result<()> {
        let (Some(shared), Some(layout)) = (self.shared, &self.image) else { return Ok(()) };
        if !self.driver.shares_roots().await {
            return Ok(());
        }
        let sessions = self.home.dir.parent().unwrap_or(&self.home.dir);
        let ensuring =
            shared.ensure(layout, &*self.driver, sessions, self.limits, self.progress).await;
        match ensuring {
            Ok(root) => {
                self.spec.root = root.as_root();
                self.session.set_shared(Some(root));
            }
            // Of the disk that the others share, which may be full or lack something
            // that memory has; its own memory may do.
            Err(error) if matches!(error.code, Code::ResourceExhausted | Code::Internal) => {
                tracing::warn!(error = error.private(), "an image is not shared");
            }
            Err(error) => return Err(error),
        }
        self.is_still_wanted()
    }

    /// The image becomes the root, within its deadline.
    async fn put_image(&self, guest: &Guest, disk: Option<&ImageDisk>) -> Result<()> {
        let Some(layout) = &self.image else { return Ok(()) };
        let putting = async {
            match (&self.spec.root, disk) {
                (SandboxRoot::Over { .. }, _) => {
                    image::adopt_root(layout, guest, self.progress).await
                }
                (_, Some(disk)) => disk.send(layout, guest, IMAGE_SERIAL, self.progress).await,
                _ => image::send(layout, guest, self.progress).await,
            }
        };
        let late = |_| {
            let seconds = self.limits.image_deadline.as_secs();
            let message = format!("the image was not in place after {seconds} s");
            Error::new(Code::DeadlineExceeded, message)
        };
        Ok(tokio::time::timeout(self.limits.image_deadline, putting).await.map_err(late)??)
    }

    /// The layers, laid out for the machine to have as a disk.
    async fn image_disk(&self) -> Result<Option<ImageDisk>> {
        match &self.image {
            Some(layout) if self.by_disk && ImageDisk::suits(layout) => {
                let path = self.spec.dir.join("image.img");
                Ok(ImageDisk::make_if_there_is_room(layout, path).await?)
            }
            _ => Ok(None),
        }
    }

    /// Why a sandbox did not answer is on its console; for the operator's log.
    async fn with_console(&self, error: Error, sandbox: &dyn Sandbox) -> Error {
        let console = sandbox.console();
        let from = console.floor_char_boundary(console.len().saturating_sub(CONSOLE_IN_ERROR));
        let diagnosis = sandbox.diagnose().await.unwrap_or_default();
        let private = error.private();
        error.with_source(format!("{private}; {diagnosis}; console: {}", &console[from..]))
    }

    fn tell(&self, progress: Progress) {
        if let Some(sender) = self.progress {
            sender.send_replace(progress);
        }
    }
}

fn unwanted() -> Error {
    Error::new(Code::FailedPrecondition, "the session was ended while it was made")
}

fn ended_early(why: &str) -> Error {
    Error::new(Code::Unavailable, format!("the sandbox ended while it was made: {why}"))
}

/// What was spent on the image before the start counts as the image's.
fn of_the_image(figures: BootFigures, before: Duration) -> BootFigures {
    let sandbox = figures.sandbox.saturating_sub(before);
    BootFigures { sandbox, image: figures.image + before, ..figures }
}

fn make_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // Sockets in it lead into the sandbox: nobody else may reach them.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
        Error::new(Code::Internal, "the session's directory could not be made").with_source(e)
    })
}

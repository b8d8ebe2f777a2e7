//! A command's terminal: its size, and that it has one.
//!
//! ```text
//! program ◄──► slave ═══ kernel ═══ master ──► pump ──► log
//!                                     ▲  ▲
//!                     sink ◄── stdin ─┘  └── size
//! ```

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use postern_proto::{Code, Error, SpawnStage, TtySize};
use tokio::io::unix::AsyncFd;

use crate::sys::pty;

/// What the record of a command keeps of its terminal, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// The last that is known.
    size: Cell<Option<TtySize>>,
    /// While a process may have it open.
    master: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
}

impl Terminal {
    /// None: the command has no terminal.
    pub(super) fn new(size: Option<TtySize>) -> Self {
        Self { size: Cell::new(size), master: RefCell::default() }
    }

    pub(super) fn open(&self, master: &Rc<AsyncFd<OwnedFd>>) {
        self.master.replace(Some(Rc::clone(master)));
    }

    /// Nobody has it open any more.
    pub(super) fn close(&self) {
        let last = self.size();
        self.size.set(last);
        self.master.replace(None);
    }

    /// As it is now, also when a program has set it; None: there is none.
    pub(crate) fn size(&self) -> Option<TtySize> {
        let master = self.master.borrow();
        let now = master.as_ref().and_then(|fd| pty::size(fd.get_ref()).ok());
        now.or(self.size.get())
    }

    /// Gives it another size; the kernel tells the programs.
    pub(crate) fn resize(&self, size: TtySize) -> Result<(), Error> {
        check_size("size", size)?;
        let refused = |why| Error::new(Code::FailedPrecondition, why);
        if self.size.get().is_none() {
            return Err(refused("the command has no terminal"));
        }
        let master = self.master.borrow();
        let master = master.as_ref().ok_or_else(|| refused("the terminal is closed"))?;
        pty::set_size(master.get_ref(), size).map_err(|errno| {
            Error::new(Code::Internal, format!("setting the terminal's size: {}", errno.desc()))
                .with_errno(errno as i32)
        })?;
        self.size.set(Some(size));
        Ok(())
    }
}

/// A terminal of no lines or columns makes programs divide by zero.
pub(super) fn check_size(field: &str, size: TtySize) -> Result<(), Error> {
    match size {
        TtySize { rows: 0, .. } | TtySize { cols: 0, .. } => {
            Err(Error::invalid(field, "a terminal has 1 to 65535 rows and columns"))
        }
        _ => Ok(()),
    }
}

/// There is no terminal to be had.
pub(super) fn setup_error(errno: Errno) -> Error {
    let code = match errno {
        // ENOSPC: as many as /proc/sys/kernel/pty/max allows are open.
        Errno::ENOSPC | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    Error {
        field: Some("tty".to_owned()),
        ..Error::new(code, format!("opening a terminal: {}", errno.desc()))
            .with_errno(errno as i32)
            .with_stage(SpawnStage::PtySetup)
    }
}

//! The one error of the core: a code, what a caller may read, and the cause,
//! which is for the log.

use std::error::Error as StdError;
use std::fmt;

use postern_proto::{Code, SpawnStage};

use crate::driver::DriverError;
use crate::guest::GuestError;
use crate::image::ImageError;
use crate::store::StoreError;

/// What every call of the core answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The longest text taken from a guest into a message: an error is a sentence,
/// and a hostile guest must not fill logs and answers.
const MAX_GUEST_TEXT: usize = 2 << 10;

/// A failure. `Display` is the public text; [`Error::private`] adds the causes.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// For the caller: what was being done and what went wrong.
    pub message: String,
    /// errno(3) of the guest.
    pub errno: Option<i32>,
    /// For a failed start of a process.
    pub stage: Option<SpawnStage>,
    /// The field of the request that is at fault.
    pub field: Option<String>,
    /// For `OutOfRange` on output: the first offset that is left.
    pub first_available: Option<u64>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with only a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            errno: None,
            stage: None,
            field: None,
            first_available: None,
            source: None,
        }
    }

    /// A field of the request is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Code::InvalidArgument, message) }
    }

    /// Adds the cause, which only [`Error::private`] shows.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The whole chain of causes, for the operator's log only.
    pub fn private(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

/// Whatever a guest's agent says, it is a guest that says it.
impl From<postern_proto::Error> for Error {
    fn from(e: postern_proto::Error) -> Self {
        Self {
            code: e.code,
            message: guest_text(&e.message, MAX_GUEST_TEXT),
            errno: e.errno,
            stage: e.stage,
            field: e.field.map(|f| guest_text(&f, 64)),
            first_available: e.first_available,
            source: None,
        }
    }
}

impl From<GuestError> for Error {
    fn from(e: GuestError) -> Self {
        let code = match &e {
            GuestError::Agent(_) => Code::Internal,
            GuestError::Dial(_) | GuestError::Lost { .. } | GuestError::Restarted => {
                Code::Unavailable
            }
            GuestError::Ended(_) | GuestError::Fenced(_) => Code::FailedPrecondition,
            GuestError::Deadline { .. } => Code::DeadlineExceeded,
            GuestError::Fault { .. } => Code::Internal,
            GuestError::Unsendable(_) => Code::InvalidArgument,
            GuestError::Busy(_) => Code::ResourceExhausted,
        };
        match e {
            GuestError::Agent(answer) => answer.into(),
            other => Self::new(code, other.to_string()).with_source(other),
        }
    }
}

impl From<DriverError> for Error {
    fn from(e: DriverError) -> Self {
        match &e {
            // What is missing and how to get it is for whoever asked.
            DriverError::Missing { .. } => Self::new(Code::FailedPrecondition, e.to_string()),
            DriverError::NotUp { .. } | DriverError::Gone(_) => {
                Self::new(Code::Unavailable, e.to_string())
            }
            DriverError::Io { source, .. } if is_full(source) => {
                let message = "the disk that sessions are kept on is full";
                Self::new(Code::ResourceExhausted, message).with_source(e)
            }
            // Paths of the host are not.
            DriverError::Failed { .. }
            | DriverError::Io { .. }
            | DriverError::Spawn { .. }
            | DriverError::Foreign(_) => {
                Self::new(Code::Internal, "the sandbox could not be started").with_source(e)
            }
        }
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        let code = match e {
            // Said to the operator who starts a broker.
            StoreError::Taken { .. } | StoreError::Newer { .. } => Code::FailedPrecondition,
            _ => return Self::new(Code::Internal, "the broker's store failed").with_source(e),
        };
        Self::new(code, e.to_string())
    }
}

impl From<ImageError> for Error {
    fn from(e: ImageError) -> Self {
        let code = match &e {
            ImageError::BadReference { .. }
            | ImageError::Malformed { .. }
            | ImageError::OtherArch { .. }
            | ImageError::Lied { .. } => Code::InvalidArgument,
            ImageError::NotFound { .. } => {
                let hint = "`make dist` makes the sample images, and docker://NAME is Docker Hub's";
                let message = format!("{e}; {hint}");
                return Self { field: image_field(), ..Self::new(Code::NotFound, message) };
            }
            ImageError::Absent { .. }
            | ImageError::NotStored { .. }
            | ImageError::NotInRegistry { .. } => Code::NotFound,
            ImageError::Denied { .. } => Code::PermissionDenied,
            ImageError::Unreachable { .. } | ImageError::BrokenOff => Code::Unavailable,
            ImageError::Credentials { .. } => Code::FailedPrecondition,
            ImageError::Full { .. } => Code::ResourceExhausted,
            ImageError::Late { .. } => Code::DeadlineExceeded,
            ImageError::Io { source, .. } if is_full(source) => {
                let message = "the disk of the image store is full";
                return Self::new(Code::ResourceExhausted, message).with_source(e);
            }
            ImageError::Io { .. } => Code::NotFound,
            ImageError::Guest(_) | ImageError::Store(_) => return Self::by_cause(e),
        };
        let error = Self { field: image_field(), ..Self::new(code, e.to_string()) };
        error.with_source(e)
    }
}

fn image_field() -> Option<String> {
    Some("image".to_owned())
}

fn is_full(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(e.kind(), StorageFull | QuotaExceeded)
}

impl Error {
    /// An image's error that is another part's.
    fn by_cause(e: ImageError) -> Self {
        match e {
            ImageError::Guest(GuestError::Agent(answer)) => answer.into(),
            ImageError::Store(cause) => cause.into(),
            other => {
                let late = matches!(other, ImageError::Guest(GuestError::Deadline { .. }));
                let code = if late { Code::DeadlineExceeded } else { Code::Unavailable };
                Self::new(code, "the image could not be sent to the guest").with_source(other)
            }
        }
    }
}

/// Text of a guest made fit for a log and a terminal: no control characters (an
/// escape sequence in an error drives the reader's terminal), and an end.
pub(crate) fn guest_text(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if clean.len() + c.len_utf8() > max {
            clean.push('…');
            break;
        }
        clean.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    clean
}

//! Errors as they travel: a code, a message, and what a caller can act on.

use crate::wire;

/// What kind of failure it is; the codes are those of the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The command, file or other thing named does not exist.
    NotFound,
    /// A thing of that name exists.
    AlreadyExists,
    /// A field of the request is wrong; [`Error::field`] names it.
    InvalidArgument,
    /// The kernel or a rule of the agent forbids it.
    PermissionDenied,
    /// A cap is reached: memory, disk, commands, connections.
    ResourceExhausted,
    /// The thing is not in a state in which this can be done.
    FailedPrecondition,
    /// It did not happen in time.
    DeadlineExceeded,
    /// An offset that is gone or not there yet.
    OutOfRange,
    /// Not now: the guest is starting or going down.
    Unavailable,
    /// A fault of the agent's own.
    Internal,
}

/// At which step the start of a process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpawnStage {
    /// No such program, as given or in PATH.
    NotFound,
    /// It exists and cannot be executed: no permission, a directory, a bad format.
    NotExecutable,
    /// The working directory cannot be entered.
    BadCwd,
    /// The user or group does not exist in the image.
    NoSuchUser,
    /// The terminal could not be made.
    PtySetup,
    /// A limit of the kernel or the agent: processes, memory, descriptors.
    ResourceLimit,
    /// argv or environment cannot be passed on: a NUL inside, too long.
    BadArguments,
    /// Taking on the user's identity failed.
    Credentials,
    /// Any other step between clone(2) and execve(2).
    ProcessSetup,
}

/// A failure that the agent reports for one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// For people: what was being done and what went wrong.
    pub message: String,
    /// errno(3) of the guest.
    pub errno: Option<i32>,
    /// For a failed start of a process.
    pub stage: Option<SpawnStage>,
    /// For [`Code::OutOfRange`] on output: the first offset that is left.
    pub first_available: Option<u64>,
    /// The field of the request that is at fault.
    pub field: Option<String>,
}

impl Error {
    /// An error with only a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            errno: None,
            stage: None,
            first_available: None,
            field: None,
        }
    }

    /// A field of the request is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Code::InvalidArgument, message) }
    }

    /// Adds the guest's errno.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.errno = Some(errno);
        self
    }

    /// Adds the stage of a failed start.
    #[must_use]
    pub fn with_stage(mut self, stage: SpawnStage) -> Self {
        self.stage = Some(stage);
        self
    }
}

/// Why received bytes are not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A length prefix or header claims more than the cap.
    #[error("a frame of {len} bytes is over the cap of {max}")]
    TooLong {
        /// What the header claims.
        len: u64,
        /// The cap at this place.
        max: usize,
    },
    /// The protobuf decoder refused the frame.
    #[error("malformed protobuf in {what}: {cause}")]
    Protobuf {
        /// The message that was expected.
        what: &'static str,
        /// The decoder's words.
        cause: String,
    },
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value that means nothing.
    #[error("{field} has the unknown value {value}")]
    BadValue {
        /// The field.
        field: &'static str,
        /// What it held.
        value: i64,
    },
    /// The first bytes are not those of a `Hello`.
    #[error("the peer does not speak this protocol (magic {0:#010x})")]
    BadMagic(u32),
    /// The peer's generation cannot be spoken.
    #[error("the peer speaks generation {0}, the lowest spoken here is {min}", min = crate::hello::MIN_GENERATION)]
    BadGeneration(u32),
}

/// A two-way table between a domain enum and its wire twin, zero being "unset".
macro_rules! wire_enum {
    ($domain:ident, $wire:ident, $field:literal, [$($variant:ident),+ $(,)?]) => {
        impl $domain {
            pub(crate) fn to_wire(self) -> i32 {
                match self { $(Self::$variant => wire::$wire::$variant as i32),+ }
            }

            #[allow(dead_code, reason = "some enums travel as optional only")]
            pub(crate) fn from_wire(value: i32) -> Result<Self, $crate::error::DecodeError> {
                Self::from_wire_opt(value)?.ok_or($crate::error::DecodeError::Missing($field))
            }

            pub(crate) fn from_wire_opt(value: i32) -> Result<Option<Self>, $crate::error::DecodeError> {
                match wire::$wire::try_from(value) {
                    $(Ok(wire::$wire::$variant) => Ok(Some(Self::$variant)),)+
                    Ok(wire::$wire::Unspecified) => Ok(None),
                    Err(_) => Err($crate::error::DecodeError::BadValue { field: $field, value: value.into() }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum!(
    Code,
    Code,
    "code",
    [
        NotFound,
        AlreadyExists,
        InvalidArgument,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        DeadlineExceeded,
        OutOfRange,
        Unavailable,
        Internal,
    ]
);
wire_enum!(
    SpawnStage,
    SpawnStage,
    "stage",
    [
        NotFound,
        NotExecutable,
        BadCwd,
        NoSuchUser,
        PtySetup,
        ResourceLimit,
        BadArguments,
        Credentials,
        ProcessSetup,
    ]
);

impl Error {
    pub(crate) fn to_wire(&self) -> wire::Error {
        wire::Error {
            code: self.code.to_wire(),
            message: self.message.clone(),
            errno: self.errno.and_then(|e| u32::try_from(e).ok()).unwrap_or(0),
            stage: self.stage.map_or(0, SpawnStage::to_wire),
            first_available: self.first_available,
            field: self.field.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn from_wire(w: wire::Error) -> Self {
        Self {
            // A code that a newer agent made up is still an error.
            code: Code::from_wire(w.code).unwrap_or(Code::Internal),
            message: w.message,
            errno: i32::try_from(w.errno).ok().filter(|e| *e != 0),
            stage: SpawnStage::from_wire_opt(w.stage).ok().flatten(),
            first_available: w.first_available,
            field: Some(w.field).filter(|f| !f.is_empty()),
        }
    }
}

//! Why a layer was not unpacked, and how it is told to the broker.

use std::io;

use nix::errno::Errno;
use postern_proto as proto;
use proto::Code;

use super::packing::{Packing, PackingError};
use super::tar::TarError;
use crate::files::error::{chain, of_errno};

/// A layer was not unpacked; the root is of no use any more.
#[derive(Debug, thiserror::Error)]
#[error("unpacking layer {layer}")]
pub struct UnpackError {
    /// Its place, from 0.
    pub layer: u32,
    /// What went wrong.
    #[source]
    pub cause: Cause,
}

/// What went wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The bytes stopped coming.
    #[error("receiving the blob")]
    Blob(#[source] io::Error),
    /// The blob is not what its media type says.
    #[error("decompressing the blob, which is to be {packing}")]
    Packing {
        /// What its media type says.
        packing: Packing,
        /// What is wrong with it.
        #[source]
        problem: PackingError,
    },
    /// A media type that is no layer, or not one that is known.
    #[error("layers of the media type {media_type:?} are not supported")]
    MediaType {
        /// As the manifest has it.
        media_type: String,
    },
    /// A digest that cannot be checked.
    #[error("the {what} {text:?} is not sha256: and 64 lower-case hexadecimal digits")]
    BadDigest {
        /// Of the blob or of the tar.
        what: &'static str,
        /// As it was given.
        text: String,
    },
    /// The bytes are not those that were named.
    #[error("the {what} is sha256:{got}, not {expected}")]
    DigestMismatch {
        /// Of the blob or of the tar.
        what: &'static str,
        /// As the manifest or the image configuration has it.
        expected: String,
        /// Of what came.
        got: String,
    },
    /// The blob has another length than was named.
    #[error("the blob has {got} bytes where {expected} were announced")]
    SizeMismatch {
        /// As the manifest has it.
        expected: u64,
        /// What came, or the amount at which it was given up.
        got: u64,
    },
    /// Layers come in order, from 0.
    #[error("layer {got} came where layer {expected} was due")]
    OutOfOrder {
        /// The one that is due.
        expected: u32,
        /// The one that came.
        got: u32,
    },
    /// An earlier layer failed.
    #[error("an earlier layer failed, so that what is there is not an image")]
    Poisoned,
    /// The tar inside cannot be read.
    #[error("reading the tar{}", .after.as_ref().map_or(String::new(), |path| format!(" after {path}")))]
    Tar {
        /// The last entry that was read.
        after: Option<String>,
        /// What is wrong.
        #[source]
        cause: TarError,
    },
    /// An entry that no image may have.
    #[error("the entry {path} {why}")]
    Entry {
        /// As the tar names it.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than the limits allow.
    #[error("the image has more than {max} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        max: u64,
    },
    /// A system call failed.
    #[error("{doing} {path}")]
    Sys {
        /// What was being done.
        doing: &'static str,
        /// For which entry.
        path: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
}

impl From<UnpackError> for proto::Error {
    fn from(error: UnpackError) -> Self {
        let message = chain(&error);
        match error.cause {
            Cause::Blob(_) => Self::new(Code::Unavailable, message),
            Cause::MediaType { .. } => Self::invalid("media_type", message),
            Cause::BadDigest { what, .. } | Cause::DigestMismatch { what, .. } => {
                Self::invalid(if what == DIFF_ID { "diff_id" } else { "digest" }, message)
            }
            Cause::SizeMismatch { .. } => Self::invalid("size", message),
            Cause::OutOfOrder { .. } => Self::invalid("index", message),
            Cause::Poisoned => Self::new(Code::FailedPrecondition, message),
            Cause::Tar { cause: TarError::TooManyBytes(_), .. } | Cause::Limit { .. } => {
                Self::new(Code::ResourceExhausted, message)
            }
            Cause::Packing { .. } | Cause::Tar { .. } | Cause::Entry { .. } => {
                Self::invalid("layer", message)
            }
            Cause::Sys { errno, .. } => {
                let mut error = of_errno(errno, message);
                // The path at fault is the layer's, not one of the request.
                error.field = error.field.map(|_| "layer".to_owned());
                error
            }
        }
    }
}

/// What messages call the digest of the blob.
pub(super) const BLOB: &str = "digest of the blob";
/// What messages call the digest of the tar inside.
pub(super) const DIFF_ID: &str = "diff_id of the layer";

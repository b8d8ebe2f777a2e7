//! What can go wrong between the broker and one agent.

use std::io;
use std::time::Duration;

use postern_proto::DecodeError;

use crate::transport::DialError;

/// A failure of one call to an agent.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// There is no connection.
    #[error("no connection to the agent")]
    Dial(#[source] DialError),
    /// A connection ended under the call.
    #[error("the connection to the agent broke while {doing}")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// What the socket said.
        #[source]
        source: io::Error,
    },
    /// The agent did not answer, or did not take bytes, in time.
    #[error("the agent was silent for {} ms while {doing}", after.as_millis())]
    Deadline {
        /// What was being done.
        doing: &'static str,
        /// For how long.
        after: Duration,
    },
    /// The agent did what the protocol forbids; its connection was closed.
    #[error("the agent broke the protocol while {doing}")]
    Fault {
        /// What was being done.
        doing: &'static str,
        /// What it did.
        #[source]
        source: Fault,
    },
    /// The agent answered that it failed.
    #[error("the agent answers: {0}")]
    Agent(#[source] postern_proto::Error),
    /// A connection with a higher epoch owns the session.
    #[error("another broker has taken the session over")]
    Fenced(#[source] postern_proto::Error),
    /// The serving process inside was started anew; its commands are lost.
    #[error("the agent was started anew, and its commands of before are lost")]
    Restarted,
    /// The sandbox is over.
    #[error("the sandbox has ended: {0}")]
    Ended(String),
    /// The request cannot be sent.
    #[error("the request does not fit the protocol")]
    Unsendable(#[source] DecodeError),
    /// Too much is under way.
    #[error("{0} requests to this session wait for an answer")]
    Busy(usize),
}

impl GuestError {
    pub(crate) fn lost(doing: &'static str, source: io::Error) -> Self {
        Self::Lost { doing, source }
    }

    pub(crate) fn fault(doing: &'static str, source: impl Into<Fault>) -> Self {
        Self::Fault { doing, source: source.into() }
    }

    /// Nobody answered in time; whoever can ask again may.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// A fresh connection may do better.
    pub(crate) fn is_link_trouble(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::Lost { .. })
    }
}

/// What an agent did that the protocol forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Bytes that are no message, or a claim over the cap.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An answer to a question that nobody asked.
    #[error("a reply to request {0}, which nobody sent")]
    UnknownReply(u64),
    /// An answer of another kind than the question's.
    #[error("the reply is of the wrong kind ({0})")]
    WrongReply(&'static str),
    /// An answer about another command.
    #[error("the reply is about another command")]
    WrongCommand,
    /// Output that does not go on where it stopped.
    #[error("output at offset {got} where {expected} was due")]
    OffsetJump {
        /// Where the last byte ended.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// A gap that is none.
    #[error("a gap from {from} to {to} at offset {at}")]
    BadGap {
        /// Where the stream stood.
        at: u64,
        /// Claimed start.
        from: u64,
        /// Claimed end.
        to: u64,
    },
    /// Output of a stream that was not asked for, or of none.
    #[error("output with the wrong tag")]
    WrongTag,
    /// A frame of a kind that has no place here.
    #[error("a frame of a kind that has no place here ({0})")]
    WrongFrame(&'static str),
    /// A process dies once.
    #[error("a second exit of one command")]
    SecondExit,
    /// More than was asked for.
    #[error("{got} bytes where at most {max} were asked for")]
    TooMuch {
        /// What came so far.
        got: u64,
        /// What was asked for.
        max: u64,
    },
    /// Less than was promised.
    #[error("{got} bytes where {promised} were promised")]
    TooLittle {
        /// What came.
        got: u64,
        /// What was promised.
        promised: u64,
    },
    /// A listing that goes in circles.
    #[error("a listing that does not end")]
    EndlessList,
}

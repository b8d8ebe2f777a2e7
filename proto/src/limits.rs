//! Every bound of the protocol, and why it is what it is.

/// The longest frame on a control connection, its length prefix not counted.
/// Checked before anything is allocated. Control carries small messages; what
/// is larger than this has a stream of its own.
pub const MAX_CONTROL_FRAME: usize = 1 << 20;

/// The longest `Hello`. It is read from a peer that is not known yet.
pub const MAX_HELLO_FRAME: usize = 4 << 10;

/// The longest opening message or reply of a stream connection.
pub const MAX_OPEN_FRAME: usize = 64 << 10;

/// The fixed size of a header on a stream connection.
pub const STREAM_HEADER: usize = 24;

/// The most bytes in one data frame of a stream. Large enough that the header
/// costs nothing, small enough that a frame is never a memory question.
pub const MAX_STREAM_DATA: usize = 256 << 10;

/// The longest message or end frame on a stream.
pub const MAX_STREAM_MESSAGE: usize = 64 << 10;

/// The most output that the reply to `Exec` or `ReadOutput` carries: a frame
/// minus ample room for everything else in it.
pub const MAX_INLINE_OUTPUT: usize = 768 << 10;

/// The most bytes in one `WriteStdin`.
pub const MAX_STDIN_WRITE: usize = 512 << 10;

/// The most bytes of argv and environment together that `Exec` may carry.
/// Linux allows 128 KiB for one string and a quarter of the stack for all.
pub const MAX_EXEC_STRINGS: usize = 768 << 10;

/// The longest command id; ids are made by the broker.
pub const MAX_ID: usize = 64;

/// The bytes of argv that a `CommandInfo` repeats; the rest is cut, so that a
/// listing stays small whatever was run.
pub const MAX_INFO_ARGV: usize = 2 << 10;

/// The most commands in one `CommandList`: with [`MAX_INFO_ARGV`] it fits a frame.
pub const MAX_LISTED: u32 = 200;

/// How long a command is kept after its end, with what its log has kept, for
/// readers that come late. Then its id is not known any more.
pub const KEPT_SECONDS: u64 = 30 * 60;

/// How many commands that are over are kept; the oldest go first. Their logs
/// together take a quarter of the session's budget for output at most: beyond it
/// the oldest keep their status and lose their output.
pub const MAX_ENDED: usize = 1_000;

/// How many commands may run at once. Each costs three descriptors of the agent.
pub const MAX_RUNNING: usize = 4_096;

/// What all logs of a session may take, bytes, and an eighth of the guest's memory
/// at most. Beyond it the oldest finished commands lose their output first, then
/// the windows of running ones get smaller. Nothing is lost without a named gap,
/// and of what a lossless reader has not had yet, nothing: its process waits.
pub const OUTPUT_BUDGET: u64 = 256 << 20;

/// How many layers of an image may be on their way to the agent at once: enough
/// that small ones cost no round trip each, while each may hold some 2 MiB of the
/// guest's memory, and with zstd its window.
pub const LAYERS_AT_ONCE: u32 = 4;

/// The port that the agent listens on. Below 1024, so that no unprivileged
/// process of the guest can take it over.
pub const AGENT_PORT: u32 = 1000;

/// The host's port that the agent dials when it is ready (the doorbell).
pub const DOORBELL_PORT: u32 = 1001;

/// The context id of the host on every vsock (vsock(7)).
pub const HOST_CID: u32 = 2;

//! Following a command's output over as many connections as it takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use postern_proto::{
    Code, CommandInfo, Follow, OutputChunk, OutputStream, StreamEnd, StreamEvent, StreamHeader,
    StreamKind, StreamOpen, StreamReply,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{Guest, LinkState};
use super::error::{Fault, GuestError};
use super::reader::Reader;
use super::stream::StreamConn;

const DOING: &str = "following output";

/// How long a broken stream is tried to be opened again. As long as the agent's
/// grace for a lossless reader: after it a resume is no longer without loss anyway.
pub(super) const RESUME_DEADLINE: Duration = Duration::from_secs(30);

/// What a follower meets, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowItem {
    /// Output. Filtered to one stream, `offset` counts that stream's bytes.
    Data(OutputChunk),
    /// `[from, to)` is gone.
    Gap {
        /// The first byte that is gone.
        from: u64,
        /// The first byte that is not.
        to: u64,
    },
    /// The process is dead; output after this is late output of descendants.
    Exited(Box<CommandInfo>),
    /// All that was asked for was carried: the last item. `closed` of it tells
    /// whether the log is final.
    Closed(Box<CommandInfo>),
}

/// A cursor in a command's output.
#[derive(Debug)]
pub struct FollowStream {
    guest: Guest,
    request: Follow,
    conn: Option<StreamConn>,
    check: OutputCheck,
    opened: Box<CommandInfo>,
    /// Changes when the control link breaks: then this connection may be dead
    /// as well and is dialled anew.
    links: watch::Receiver<LinkState>,
    broken_since: Option<Instant>,
    backoff: Backoff,
    over: bool,
    reader: Reader,
}

impl FollowStream {
    /// Opens the cursor; a command that does not exist is an error now.
    pub async fn open(guest: Guest, mut request: Follow) -> Result<Self, GuestError> {
        // Over all its connections it is one reader, and the log waits for it once.
        let mut reader = Reader::of(&guest, &mut request);
        let mut links = guest.inner.state.subscribe();
        links.mark_unchanged();
        let to_the_end = !request.until_exit && !request.no_wait;
        let mut check = OutputCheck::new(request.from, request.only).going_to_the_end(to_the_end);
        let (conn, opened) = open(&guest, &request, &mut check).await.inspect_err(|error| {
            // Refused, or never asked.
            if matches!(error, GuestError::Agent(_) | GuestError::Dial(_)) {
                reader.is_known_to_be_gone();
            }
        })?;
        guest.inner.watchers.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            guest,
            request,
            conn: Some(conn),
            check,
            opened,
            links,
            broken_since: None,
            backoff: Backoff::broken_link(),
            over: false,
            reader,
        })
    }

    /// The command when the cursor was last opened.
    pub fn opened(&self) -> &CommandInfo {
        &self.opened
    }

    /// Where the next byte will be.
    pub fn next_offset(&self) -> u64 {
        self.check.next
    }

    /// The next item; None after [`FollowItem::Closed`]. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<FollowItem>, GuestError> {
        while !self.over {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(item)) => {
                    self.over = matches!(item, FollowItem::Closed(_));
                    if self.over {
                        self.reader.is_known_to_be_gone();
                    }
                    return Ok(Some(item));
                }
                Err(e) if e.is_link_trouble() || self.conn.is_none() && e.is_silence() => {
                    self.broke(e)?;
                }
                Err(e) => {
                    self.guest.count_fault(&e);
                    self.conn = None;
                    self.over = true;
                    return Err(e);
                }
            }
        }
        Ok(None)
    }

    /// Leaves on purpose: a hold is lifted now and not after the agent's grace.
    pub fn leave(mut self) {
        self.reader.leave();
        self.say(StreamEnd::Done);
    }

    /// The last word on its stream, where it is heard at once or never.
    fn say(&mut self, word: StreamEnd) {
        if let (Some(conn), Ok(runtime)) = (self.conn.take(), Handle::try_current()) {
            runtime.spawn(conn.say(word));
        }
    }

    /// Takes one frame, or opens a connection to take it from.
    async fn step(&mut self) -> Result<Option<FollowItem>, GuestError> {
        let Some(conn) = &mut self.conn else {
            self.resume().await?;
            return Ok(None);
        };
        let (header, payload) = tokio::select! {
            biased;
            frame = conn.next(DOING) => frame?,
            down = link_is_down(&mut self.links) => {
                self.conn = None;
                return down.map(|()| None);
            }
        };
        match self.check.accept(header, payload).map_err(|f| GuestError::fault(DOING, f))? {
            None => Ok(None),
            Some(Checked::Failed(error)) => Err(GuestError::Agent(error)),
            Some(Checked::Item(item)) => {
                self.broken_since = None;
                self.backoff.reset();
                Ok(Some(item))
            }
        }
    }

    fn broke(&mut self, why: GuestError) -> Result<(), GuestError> {
        self.conn = None;
        let since = *self.broken_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= RESUME_DEADLINE {
            self.over = true;
            return Err(why);
        }
        tracing::debug!(error = %why, offset = self.check.next, "a follower lost its stream");
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), GuestError> {
        if self.broken_since.is_some() {
            tokio::time::sleep(self.backoff.step()).await;
        }
        // Whoever is fenced or whose sandbox has ended hears it here. The link
        // also shows that the agent is reachable before a stream is tried.
        let link_by = Instant::now() + RESUME_DEADLINE;
        let link = self.guest.link(link_by).await?;
        drop(link);
        self.links.mark_unchanged();
        let request = Follow { from: self.check.next, ..self.request.clone() };
        self.check.reconnected();
        let opened = open(&self.guest, &request, &mut self.check).await;
        let (conn, opened) = opened.map_err(|e| match e {
            // It was there: the serving process that kept it is not.
            GuestError::Agent(e) if e.code == Code::NotFound => GuestError::Restarted,
            other => other,
        })?;
        self.conn = Some(conn);
        self.opened = opened;
        // A process that writes nothing gives no other sign of progress. The backoff
        // is kept: a stream that breaks at once each time must not spin.
        self.broken_since = None;
        Ok(())
    }
}

impl Drop for FollowStream {
    fn drop(&mut self) {
        self.guest.inner.watchers.fetch_sub(1, Ordering::Relaxed);
        if !self.over {
            let gone = postern_proto::Error::new(Code::Unavailable, "the reader went away");
            self.say(StreamEnd::Error(gone));
        }
    }
}

async fn open(
    guest: &Guest,
    request: &Follow,
    check: &mut OutputCheck,
) -> Result<(StreamConn, Box<CommandInfo>), GuestError> {
    let opening = StreamOpen::Follow(request.clone());
    let (conn, reply) = StreamConn::open(guest, &opening, DOING).await?;
    match reply {
        StreamReply::Follow(info) if info.command_id == request.command_id => {
            check.reconnected();
            Ok((conn, info))
        }
        StreamReply::Follow(_) => Err(guest.wrong(DOING, Fault::WrongCommand)),
        _ => Err(guest.wrong(DOING, Fault::WrongReply("follow"))),
    }
}

/// Resolves when the control link is no longer up: to an error if that is for good.
pub(super) async fn link_is_down(links: &mut watch::Receiver<LinkState>) -> Result<(), GuestError> {
    let down = links.wait_for(|state| !matches!(state, LinkState::Up(_))).await;
    match down.as_deref() {
        Ok(LinkState::Ended(reason)) => Err(GuestError::Ended(reason.to_string())),
        Ok(LinkState::Fenced(refusal)) => Err(GuestError::Fenced(refusal.clone())),
        Ok(_) => Ok(()),
        Err(_) => Err(GuestError::Ended("the client is gone".to_owned())),
    }
}

/// What a frame came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Item(FollowItem),
    /// The agent broke off.
    Failed(postern_proto::Error),
}

/// The rules of a follow stream, without I/O.
///
/// Over all connections: offsets go on without a jump, the exit is told once.
/// Within one connection: one exit, and nothing after the end.
#[derive(Debug)]
pub(super) struct OutputCheck {
    pub(super) next: u64,
    only: Option<OutputStream>,
    /// Where stdout (or the terminal) and stderr stand, once a chunk has told.
    within: [Option<u64>; 2],
    exit_here: bool,
    exit_told: bool,
    ended: bool,
    /// The stream was asked to go on to the log's end.
    to_the_end: bool,
}

impl OutputCheck {
    pub(super) fn new(from: u64, only: Option<OutputStream>) -> Self {
        Self {
            next: from,
            only,
            within: [None; 2],
            exit_here: false,
            exit_told: false,
            ended: false,
            to_the_end: false,
        }
    }

    /// An end before all of the log was carried is a lie.
    pub(super) fn going_to_the_end(mut self, to_the_end: bool) -> Self {
        self.to_the_end = to_the_end;
        self
    }

    pub(super) fn reconnected(&mut self) {
        self.exit_here = false;
    }

    pub(super) fn accept(
        &mut self,
        header: StreamHeader,
        payload: Bytes,
    ) -> Result<Option<Checked>, Fault> {
        if self.ended {
            return Err(Fault::WrongFrame("after the end"));
        }
        Ok(match header.kind {
            StreamKind::Data(tag) => self.data(tag, header, payload)?,
            StreamKind::Gap => Some(self.gap(header)?),
            StreamKind::Message => match StreamEvent::decode(payload)? {
                StreamEvent::Exited(info) => self.exited(info)?,
                StreamEvent::Stdin(_) => return Err(Fault::WrongFrame("of stdin")),
                StreamEvent::LayerRead { .. } => return Err(Fault::WrongFrame("of a layer")),
                StreamEvent::Unknown => None,
            },
            StreamKind::End => Some(self.end(payload)?),
        })
    }

    fn data(
        &mut self,
        tag: Option<OutputStream>,
        header: StreamHeader,
        payload: Bytes,
    ) -> Result<Option<Checked>, Fault> {
        let stream = tag.filter(|tag| self.only.is_none_or(|only| only == *tag));
        let stream = stream.ok_or(Fault::WrongTag)?;
        if header.offset != self.next {
            return Err(Fault::OffsetJump { expected: self.next, got: header.offset });
        }
        let len = payload.len() as u64;
        let jump = Fault::OffsetJump { expected: self.next, got: u64::MAX };
        let next = self.next.checked_add(len).ok_or(jump)?;
        if self.only.is_none() {
            let within = &mut self.within[usize::from(stream == OutputStream::Stderr)];
            let expected = within.unwrap_or(header.aux);
            if header.aux != expected {
                return Err(Fault::OffsetJump { expected, got: header.aux });
            }
            *within = header.aux.checked_add(len);
        }
        self.next = next;
        let chunk =
            OutputChunk { stream, offset: header.offset, stream_offset: header.aux, data: payload };
        Ok((len > 0).then_some(Checked::Item(FollowItem::Data(chunk))))
    }

    fn gap(&mut self, header: StreamHeader) -> Result<Checked, Fault> {
        let (from, to) = (header.offset, header.aux);
        if from != self.next || to <= from {
            return Err(Fault::BadGap { at: self.next, from, to });
        }
        self.next = to;
        // How much of each stream is in the gap, nobody said.
        self.within = [None; 2];
        Ok(Checked::Item(FollowItem::Gap { from, to }))
    }

    fn exited(&mut self, info: Box<CommandInfo>) -> Result<Option<Checked>, Fault> {
        if self.exit_here {
            return Err(Fault::SecondExit);
        }
        self.exit_here = true;
        // Each connection tells it; the reader hears it once.
        let first = !self.exit_told;
        self.exit_told = true;
        Ok(first.then(|| Checked::Item(FollowItem::Exited(info))))
    }

    fn end(&mut self, payload: Bytes) -> Result<Checked, Fault> {
        self.ended = true;
        match StreamEnd::decode(payload)? {
            StreamEnd::Output(info) => {
                let end = match self.only {
                    None => info.output_end,
                    Some(OutputStream::Stderr) => info.stderr_end,
                    Some(_) => info.stdout_end,
                };
                if self.to_the_end && self.next != end {
                    return Err(Fault::OffsetJump { expected: self.next, got: end });
                }
                Ok(Checked::Item(FollowItem::Closed(info)))
            }
            StreamEnd::Error(error) => Ok(Checked::Failed(error)),
            _ => Err(Fault::WrongFrame("an end of another kind of stream")),
        }
    }
}

//! The first message in each direction of every connection.

use bytes::{Bytes, BytesMut};

use crate::error::{DecodeError, Error, wire_enum};
use crate::frame::{parse, put_frame};
use crate::limits::MAX_HELLO_FRAME;
use crate::wire;

/// "PSTN": garbage is told from a peer by the first field.
pub const MAGIC: u32 = u32::from_be_bytes(*b"PSTN");

/// The newest generation spoken here.
pub const GENERATION: u32 = 1;

/// The oldest generation spoken here.
pub const MIN_GENERATION: u32 = 1;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Requests, replies and events; one per session.
    Control,
    /// One flow of bytes.
    Stream,
}

wire_enum!(Purpose, Purpose, "purpose", [Control, Stream]);

/// Who speaks, which generation, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The newest generation that the sender speaks; the lower of the two is spoken.
    pub generation: u32,
    /// Optional parts that the sender knows; none are defined in generation 1.
    pub features: u64,
    /// Name and version of the program, for people.
    pub software: String,
    /// What the connection is for; the agent repeats the host's.
    pub purpose: Purpose,
    /// Host only: of two control connections the higher epoch wins.
    pub epoch: u64,
    /// Agent only: new at each boot of the guest.
    pub boot_id: String,
    /// Agent only: new each time that the serving process starts. When it
    /// changes and `boot_id` does not, the commands of before are lost.
    pub instance_id: String,
    /// Agent only: why the connection is refused.
    pub refusal: Option<Error>,
}

impl Hello {
    /// A host's opening.
    pub fn host(purpose: Purpose, epoch: u64, software: &str) -> Self {
        Self {
            generation: GENERATION,
            features: 0,
            software: software.to_owned(),
            purpose,
            epoch,
            boot_id: String::new(),
            instance_id: String::new(),
            refusal: None,
        }
    }

    /// The generation that two peers speak: the lower of the two.
    pub fn agreed(&self, other: &Self) -> u32 {
        self.generation.min(other.generation)
    }

    /// Appends the frame.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        let message = wire::Hello {
            magic: MAGIC,
            generation: self.generation,
            features: self.features,
            software: self.software.clone(),
            purpose: self.purpose.to_wire(),
            epoch: self.epoch,
            boot_id: self.boot_id.clone(),
            instance_id: self.instance_id.clone(),
            refusal: self.refusal.as_ref().map(Error::to_wire),
        };
        put_frame(dst, &message, MAX_HELLO_FRAME)
    }

    /// Reads the payload of the first frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let w: wire::Hello = parse("Hello", frame)?;
        if w.magic != MAGIC {
            return Err(DecodeError::BadMagic(w.magic));
        }
        if w.generation < MIN_GENERATION {
            return Err(DecodeError::BadGeneration(w.generation));
        }
        Ok(Self {
            generation: w.generation,
            features: w.features,
            software: w.software,
            purpose: Purpose::from_wire(w.purpose)?,
            epoch: w.epoch,
            boot_id: w.boot_id,
            instance_id: w.instance_id,
            refusal: w.refusal.map(Error::from_wire),
        })
    }
}

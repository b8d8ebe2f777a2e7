//! What is measured, one file a thing.

mod at_once;
mod exec;
mod files;
mod footprint;
mod stdout;
mod unpack;

use std::io;

use crate::report::Row;
use crate::rig::Rig;

pub(crate) type Measure = fn(&Rig) -> io::Result<Vec<Row>>;

/// In the order of the table.
pub(crate) const ALL: [(&str, Measure); 6] = [
    ("exec", exec::measure),
    ("stdout", stdout::measure),
    ("files", files::measure),
    ("at-once", at_once::measure),
    ("footprint", footprint::measure),
    ("unpack", unpack::measure),
];

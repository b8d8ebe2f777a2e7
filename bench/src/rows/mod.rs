//! What is measured, one file a thing.

mod at_once;
mod boot;
mod exec;
mod exec_http;
mod exec_vm;
mod files;
mod files_http;
mod footprint;
mod image;
mod image_vm;
mod start;
mod stdout;
mod stdout_http;
mod unpack;

use std::io;

use crate::report::Row;
use crate::rig::Rig;

pub(crate) type Measure = fn(&Rig) -> io::Result<Vec<Row>>;

/// In the order of the table.
pub(crate) const ALL: [(&str, Measure); 14] = [
    ("exec", exec::measure),
    ("exec-http", exec_http::measure),
    ("exec-vm", exec_vm::measure),
    ("stdout", stdout::measure),
    ("stdout-http", stdout_http::measure),
    ("files", files::measure),
    ("files-http", files_http::measure),
    ("at-once", at_once::measure),
    ("footprint", footprint::measure),
    ("start", start::measure),
    ("boot", boot::measure),
    ("unpack", unpack::measure),
    ("image", image::measure),
    ("image-vm", image_vm::measure),
];

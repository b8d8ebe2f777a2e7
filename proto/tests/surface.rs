//! The surface of the generation: any change of the schema shows here first.
//!
//! After an intended, compatible change: `UPDATE_SURFACE=1 cargo test -p
//! postern-proto --test surface`, and say in the commit why it is compatible.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::path::Path;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn message(out: &mut String, message: &DescriptorProto) {
    let name = message.name();
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|f| f.number());
    writeln!(out, "message {name}").unwrap();
    for field in fields {
        let kind = match field.type_name() {
            "" => format!("{:?}", field.r#type()).to_lowercase(),
            named => named.rsplit('.').next().unwrap_or(named).to_owned(),
        };
        let label = format!("{:?}", field.label()).to_lowercase();
        let oneof = match field.oneof_index {
            Some(_) if field.proto3_optional() => " (presence)".to_owned(),
            Some(i) => {
                format!(" (oneof {})", message.oneof_decl[usize::try_from(i).unwrap()].name())
            }
            None => String::new(),
        };
        writeln!(out, "  {} {} {kind} {label}{oneof}", field.number(), field.name()).unwrap();
    }
}

fn enumeration(out: &mut String, enumeration: &EnumDescriptorProto) {
    writeln!(out, "enum {}", enumeration.name()).unwrap();
    for value in &enumeration.value {
        writeln!(out, "  {} {}", value.number(), value.name()).unwrap();
    }
}

#[test]
fn the_surface_is_as_it_was() {
    let set = &include_bytes!(concat!(env!("OUT_DIR"), "/agent.fds"))[..];
    let set = FileDescriptorSet::decode(set).unwrap();
    let file = set.file.iter().find(|f| f.package() == "postern.agent.v1").unwrap();
    let mut surface = format!("generation {}\n", postern_proto::hello::GENERATION);
    file.enum_type.iter().for_each(|e| enumeration(&mut surface, e));
    file.message_type.iter().for_each(|m| message(&mut surface, m));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/surface-1.txt");
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        std::fs::write(&path, &surface).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(surface, expected, "the protocol's surface changed: see the top of this test");
}

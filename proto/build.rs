//! Generates the wire types from the schema, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

use protox::prost_reflect::prost::Message as _;

const SCHEMA_ROOT: &str = "schema";
const SCHEMA: &str = "schema/postern/agent/v1/agent.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SCHEMA}");
    let descriptors = protox::compile([SCHEMA], [SCHEMA_ROOT])?;
    // The surface snapshot test reads the same descriptors that made the code.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("agent.fds"), descriptors.encode_to_vec())?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}

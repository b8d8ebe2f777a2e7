//! The command line.

use std::path::PathBuf;

use crate::rows;

pub(crate) const USAGE: &str = "\
usage: postern-bench [--only NAME]... [--quick] [--json] [--dist DIR] [--agent PATH]
  --only NAME   measure only this (may be given several times):
                exec exec-http exec-vm stdout stdout-http files files-http
                at-once footprint start boot unpack image-vm
  --quick       fewer rounds and less data, for a look
  --json        print the rows as JSON
  --dist DIR    where `make dist` put things [target/dist]
  --agent PATH  another postern-agent than the one there";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) only: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) json: bool,
    pub(crate) dist: PathBuf,
    pub(crate) agent: Option<PathBuf>,
}

pub(crate) enum Parsed {
    Run(Options),
    Help,
}

impl Options {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Parsed, String> {
    let mut options = Options {
        only: Vec::new(),
        quick: false,
        json: false,
        dist: PathBuf::from("target/dist"),
        agent: None,
    };
    while let Some(name) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--only" => options.only.push(known(value()?)?),
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "--dist" => options.dist = value()?.into(),
            "--agent" => options.agent = Some(value()?.into()),
            "-h" | "--help" => return Ok(Parsed::Help),
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(Parsed::Run(options))
}

fn known(name: String) -> Result<String, String> {
    if rows::ALL.iter().any(|(known, _)| *known == name) {
        Ok(name)
    } else {
        Err(format!("there is nothing called {name} to measure"))
    }
}

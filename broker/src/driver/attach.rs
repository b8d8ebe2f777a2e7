//! A sandbox that somebody else runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Driver, DriverError, Record, Records, Sandbox, SandboxSpec, unchanging};
use crate::transport::{AttachTarget, Dial};

/// Dials, and nothing else: neither start nor end is ours.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    dial: Arc<dyn Dial>,
    record: Record,
}

impl Attach {
    pub(crate) fn new(target: AttachTarget) -> Self {
        let record = Record::Attach(target.clone().into());
        Self { dial: target.into_dial(), record }
    }
}

impl Driver for Attach {
    fn create<'a>(
        &'a self,
        _spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>> {
        let sandbox: Box<dyn Sandbox> = Box::new(self.clone());
        Box::pin(async { Ok(sandbox) })
    }

    fn adopt(&self, _dir: &Path, record: Record) -> Result<Box<dyn Sandbox>, DriverError> {
        match record {
            Record::Attach(target) => Ok(Box::new(Self::new(target.into()))),
            _ => Err(DriverError::foreign("attach")),
        }
    }
}

impl Sandbox for Attach {
    fn dial(&self) -> Arc<dyn Dial> {
        self.dial.clone()
    }

    fn records(&self) -> Records {
        unchanging(self.record.clone())
    }

    fn ended(&self) -> BoxFuture<'static, String> {
        Box::pin(std::future::pending())
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn kill(&self, _deadline: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn leave(&self) {}

    fn console(&self) -> String {
        String::new()
    }
}

//! A sandbox that somebody else runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Driver, DriverError, Sandbox, SandboxSpec};
use crate::transport::{AttachTarget, Dial};

/// Dials, and nothing else: neither start nor end is ours.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    dial: Arc<dyn Dial>,
}

impl Attach {
    pub(crate) fn new(target: AttachTarget) -> Self {
        Self { dial: target.into_dial() }
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
}

impl Sandbox for Attach {
    fn dial(&self) -> Arc<dyn Dial> {
        self.dial.clone()
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

    fn console(&self) -> String {
        String::new()
    }
}

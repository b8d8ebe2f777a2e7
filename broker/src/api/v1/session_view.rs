//! A session as it is in JSON: Chaser's SessionInfo and what we know beyond it.

use std::time::Duration;

use serde_json::{Value, json};

use super::image_view;
use crate::api::reply::rfc3339;
use crate::core::{BootFigures, SessionInfo};

/// One session with what its image says, which a listing would repeat for each.
pub(super) fn detail(info: &SessionInfo) -> Value {
    let mut view = view(info);
    view["image_config"] = info.image_config.as_deref().map(image_view::config).into();
    view
}

/// One session.
pub(super) fn view(info: &SessionInfo) -> Value {
    json!({
        "id": info.id,
        "created_at": rfc3339(info.created_at),
        "status": info.status.as_str(),
        "session_type": "sandbox",
        "endpoints": {"control": format!("/v1/sessions/{}", info.id)},
        "ephemeral": true,
        "reason": info.reason,
        "image": info.image,
        "driver": info.driver.as_str(),
        "memory_mb": info.memory_mb,
        "cpus": info.cpus,
        "ttl_seconds": info.ttl.map(|ttl| ttl.as_secs()),
        "expires_at": info.expires_at.map(rfc3339),
        "disk_mb": info.disk_mb,
        "hostname": info.hostname,
        "network": info.network,
        "no_new_privs": info.no_new_privs,
        "entrypoint_command_id": info.entrypoint_command_id,
        "boot": info.boot.as_ref().map(boot),
    })
}

fn boot(figures: &BootFigures) -> Value {
    json!({
        "sandbox_ms": millis(figures.sandbox),
        "image_ms": millis(figures.image),
        "total_ms": millis(figures.total),
        "init_start_us": figures.init_start_us,
        "agent_ready_us": figures.agent_ready_us,
        "accelerator": figures.accelerator,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

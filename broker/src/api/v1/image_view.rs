//! An image as it is in JSON.

use serde_json::{Map, Value, json};

use crate::api::reply::rfc3339;
use crate::core::{ImageConfig, ImageDetail, ImageInfo, ImageLayer};
use crate::signal;

/// One image of a listing.
pub(super) fn view(info: &ImageInfo) -> Value {
    Value::Object(fields(info))
}

/// An image with what it consists of.
pub(super) fn detail(detail: &ImageDetail) -> Value {
    let mut map = fields(&detail.info);
    let env = detail.env.iter().map(|var| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}={}", text(&var.name), text(&var.value))
    });
    let mut config = config(&detail.config);
    config["env"] = env.collect();
    let more = json!({
        "manifest": detail.manifest,
        "layers": detail.layers.iter().map(layer).collect::<Value>(),
        "config": config,
    });
    if let Value::Object(more) = more {
        map.extend(more);
    }
    Value::Object(map)
}

/// What an image's configuration says, without the environment.
pub(super) fn config(config: &ImageConfig) -> Value {
    let left_out = config
        .left_out
        .iter()
        .map(|part| json!({"field": part.field, "value": part.value, "reason": part.reason}));
    json!({
        "user": config.user,
        "working_dir": config.working_dir,
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "stop_signal": signal::name(config.stop_signal),
        "labels": config.labels,
        "exposed_ports": config.exposed_ports,
        "left_out": left_out.collect::<Value>(),
    })
}

fn fields(info: &ImageInfo) -> Map<String, Value> {
    // Names of the store are never bare, and those of layouts always.
    let source = if info.digest.is_some() { "store" } else { "directory" };
    let view = json!({
        "name": info.name,
        "source": source,
        "digest": info.digest,
        "size": info.size,
        "pulled_at": info.pulled_at.map(rfc3339),
        "used_at": info.used_at.map(rfc3339),
        "in_use": info.in_use,
    });
    match view {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn layer(layer: &ImageLayer) -> Value {
    json!({
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "media_type": layer.media_type,
        "size": layer.size,
    })
}

//! Calls about images.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::types::{Freed, Image, Images, Progress};
use super::{Client, SHORT, segment};
use crate::error::Error;

/// Deleting what fills a disk takes a while.
const PRUNE_DEADLINE: Duration = Duration::from_secs(10 * 60);

impl Client {
    pub(crate) async fn images(&self) -> Result<Vec<Image>, Error> {
        let list: Images =
            self.json("listing images", Method::GET, "/v1/images", None, SHORT).await?;
        Ok(list.images)
    }

    pub(crate) async fn pull_image(
        &self,
        image: &str,
        policy: &str,
        watch: impl FnMut(&Progress),
    ) -> Result<Image, Error> {
        let body = json!({"image": image, "pull_policy": policy});
        let doing = format!("pulling {image}");
        self.watched(&doing, "/v1/images", &body, "image", watch).await
    }

    pub(crate) async fn inspect_image(&self, image: &str) -> Result<Value, Error> {
        let doing = format!("looking at {image}");
        self.json(&doing, Method::GET, &path(image), None, SHORT).await
    }

    pub(crate) async fn remove_image(&self, image: &str) -> Result<Freed, Error> {
        let doing = format!("removing {image}");
        self.json(&doing, Method::DELETE, &path(image), None, PRUNE_DEADLINE).await
    }

    pub(crate) async fn prune_images(
        &self,
        all: bool,
        max_bytes: Option<u64>,
    ) -> Result<Freed, Error> {
        let body = json!({"all": all, "max_bytes": max_bytes});
        let path = "/v1/images/prune";
        self.json("pruning images", Method::POST, path, Some(&body), PRUNE_DEADLINE).await
    }
}

fn path(image: &str) -> String {
    format!("/v1/images/{}", segment(image))
}

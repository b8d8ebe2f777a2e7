//! The images' rows: what the names of the image store stand for.

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError};

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRow {
    pub(crate) name: String,
    /// What the name stood for when it was pulled: an index, or a manifest.
    pub(crate) digest: String,
    /// The manifest for the guests' architecture.
    pub(crate) manifest: String,
    /// Every blob of it with its size, as JSON.
    pub(crate) blobs: String,
    /// By which a changed archive is known from the one that was read.
    pub(crate) stamp: Option<String>,
    /// Microseconds since 1970.
    pub(crate) pulled_us: i64,
    /// Likewise.
    pub(crate) used_us: i64,
}

impl ImageRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            digest: row.get("digest")?,
            manifest: row.get("manifest")?,
            blobs: row.get("blobs")?,
            stamp: row.get("stamp")?,
            pulled_us: row.get("pulled_us")?,
            used_us: row.get("used_us")?,
        })
    }
}

impl Store {
    /// Every image, the one that was not used for the longest time first.
    pub(crate) async fn images(&self) -> Result<Vec<ImageRow>, StoreError> {
        self.call("reading images", |db| {
            let mut query = db.prepare("SELECT * FROM images ORDER BY used_us, name")?;
            query.query_map([], ImageRow::read)?.collect()
        })
        .await
    }

    /// One image.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageRow>, StoreError> {
        let name = name.to_owned();
        self.call("reading an image", move |db| {
            let query = "SELECT * FROM images WHERE name = ?1";
            db.query_row(query, [name], ImageRow::read).optional()
        })
        .await
    }

    /// In place of what had the name before.
    pub(crate) async fn put_image(&self, row: ImageRow) -> Result<(), StoreError> {
        self.call("noting an image", move |db| {
            db.execute(
                "INSERT OR REPLACE INTO images
                 (name, digest, manifest, blobs, stamp, pulled_us, used_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    row.name,
                    row.digest,
                    row.manifest,
                    row.blobs,
                    row.stamp,
                    row.pulled_us,
                    row.used_us
                ],
            )
            .map(drop)
        })
        .await
    }

    /// It was used now.
    pub(crate) async fn touch_image(&self, name: &str, used_us: i64) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.call("noting the use of an image", move |db| {
            let update = "UPDATE images SET used_us = ?2 WHERE name = ?1";
            db.execute(update, params![name, used_us]).map(drop)
        })
        .await
    }

    /// Whether there was one.
    pub(crate) async fn remove_image(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.call("removing an image", move |db| {
            db.execute("DELETE FROM images WHERE name = ?1", [name]).map(|gone| gone > 0)
        })
        .await
    }
}

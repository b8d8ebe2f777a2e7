//! What the serving process knows of its guest: the image, the session, the
//! commands, and who is connected.

mod image;
mod state;

pub use image::ImageStore;
pub use state::{Inherited, State};
pub(crate) use state::{Seat, after_the_end, housekeeping};

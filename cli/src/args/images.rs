//! `postern images`.

use clap::Subcommand;

use super::options::PullPolicy;
use super::values;

#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    #[command(subcommand)]
    pub(crate) action: Option<ImagesAction>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImagesAction {
    /// List images
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring an image into the store and print its digest
    Pull {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Whether the registry is asked for what the store has
        #[arg(long, value_name = "WHEN", default_value = "always")]
        policy: PullPolicy,
        /// A registry's (debian:12, docker://debian), oci-archive:FILE[:TAG] or
        /// docker-archive:FILE[:NAME]
        image: String,
    },
    /// Remove images from the store
    Rm {
        /// Names, as listed
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Delete what no image needs
    Prune {
        /// Also every image that is not in use
        #[arg(short, long)]
        all: bool,
        /// Also the longest unused images, until the rest is no more than this: 512m, 10g
        #[arg(long, value_name = "SIZE", value_parser = values::bytes, conflicts_with = "all")]
        max_size: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what an image consists of, as JSON
    Inspect {
        /// Name, as listed, or oci:DIR[:TAG]
        image: String,
    },
}

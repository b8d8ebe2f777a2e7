//! The native dialect: Chaser's shape, and what its documents leave open.

pub(super) mod ack;
pub(super) mod create_session;
pub(super) mod delete_image;
pub(super) mod delete_session;
pub(super) mod download;
pub(super) mod exec;
pub(super) mod get_command;
pub(super) mod get_file;
pub(super) mod get_image;
pub(super) mod get_session;
pub(super) mod kill;
pub(super) mod list_commands;
pub(super) mod list_images;
pub(super) mod list_sessions;
pub(super) mod output;
pub(super) mod prune_images;
pub(super) mod pty;
pub(super) mod pull_image;
pub(super) mod put_file;
pub(super) mod put_stdin;
pub(super) mod resize;
pub(super) mod resize_session;
pub(super) mod resume;
pub(super) mod self_test;
pub(super) mod stdin;
pub(super) mod stream;
pub(super) mod upload;
pub(super) mod wait;

mod command_view;
mod exec_request;
mod file_body;
mod image_view;
mod output_view;
mod process_setup;
mod progress;
mod session_view;

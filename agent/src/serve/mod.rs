//! The serving process: accepts the host's connections and answers them.
//!
//! One thread runs everything that waits. What moves bytes in bulk (files,
//! layers) gets a thread and a blocking socket of its own; processes are born
//! in the spawner's threads.

mod control;
mod hello;
mod listener;

use std::io;
use std::rc::Rc;

use tokio::task::LocalSet;

use crate::guest::{self, Inherited, State};
use crate::link::Conn;
use listener::Listener;

/// What init hands over, and what it learns from the way this ends.
pub fn run(inherited: Inherited) -> io::Result<()> {
    crate::command::raise_own_descriptors();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let orders = inherited.orders.try_clone()?;
        let (listener, state, ended) = State::new(inherited)?;
        let listener = Listener::new(listener)?;
        tokio::task::spawn_local(obey(Conn::new(orders.into())?, Rc::clone(&state)));
        tokio::task::spawn_local(hello::ring_doorbell(state.doorbell()));
        tokio::task::spawn_local(guest::after_the_end(Rc::clone(&state), ended));
        tokio::task::spawn_local(guest::housekeeping(Rc::clone(&state)));
        tokio::select! {
            result = accept(&listener, &state) => result,
            () = state.until_over() => Ok(()),
        }
    })
}

/// Commands have this long when init, not the host, asks for the end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits for init's word.
async fn obey(mut orders: Conn, state: Rc<State>) {
    if let Ok(true) = orders.skim().await {
        crate::handlers::end_commands(&state, GRACE).await;
    }
    state.finish();
}

async fn accept(listener: &Listener, state: &Rc<State>) -> io::Result<()> {
    loop {
        let fd = listener.accept().await?;
        let Some(place) = state.connection_place() else {
            // Closing at once is the answer that costs nothing.
            drop(fd);
            continue;
        };
        let state = Rc::clone(state);
        tokio::task::spawn_local(async move {
            let _place = place;
            // A peer that misbehaves loses its connection; others go on.
            if let Err(e) = hello::greet(fd, &state).await {
                state.count_fault(&e);
            }
        });
    }
}
